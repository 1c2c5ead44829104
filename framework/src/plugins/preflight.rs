//! Judges a library from its bytes, before any of its code runs.
//!
//! Opening a half-copied library ends the process, and the operating system's messages mislead (a library for another
//! processor is "no such file"), so the structure is checked here and the manifest is read here.

mod loadable;

use std::collections::HashSet;

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{Architecture, BinaryFormat, Endianness, File, FileKind, Object, ObjectSection};
use switchboard_plugin_api::host::SECTION;
use switchboard_plugin_api::{
    API_VERSION, MAX_NAME_BYTES, Manifest, ManifestTrigger, TriggerNumber, parse_api_version, protocol,
};

use super::Refusal;

/// Host services that a plugin can name as indispensable.
pub(crate) const SERVICES: &[&str] = &[
    protocol::HTTP,
    protocol::TEXT,
    protocol::SETTING,
    protocol::SHOWTIME_GET,
    protocol::SHOWTIME_SET,
    protocol::TRIGGER,
    protocol::RUN,
    protocol::KEPT_GET,
    protocol::KEPT_SET,
    protocol::DEFER,
    protocol::DEFER_WITH,
    protocol::ANNOUNCE,
    protocol::SLEEP,
    protocol::CLOCK,
];

/// Longest record that is read, in bytes; that of a plugin with as many handlers as it can have is a tenth of it.
const MAX_RECORD_BYTES: usize = 256 << 10;

/// Most handlers of one plugin. plugin-api allows fewer; a later version may allow more.
const MAX_TRIGGERS: usize = 1_000;

/// Longest version and title, in bytes.
const MAX_WORDS_BYTES: usize = 200;

/// Returns the manifest of a library that this host can open.
pub(crate) fn judge(bytes: &[u8]) -> Result<Manifest, Refusal> {
    let kind = FileKind::parse(bytes).map_err(|_| Refusal::NotALibrary("its content is not that of a library"))?;
    check_class(bytes)?;
    check_complete(bytes, kind)?;
    let file = File::parse(bytes).map_err(|error| Refusal::Damaged { reason: error.to_string() })?;
    check_platform(&file)?;
    check_loadable(bytes)?;
    let manifest = manifest_of(&file)?;
    check_manifest(&manifest)?;
    Ok(manifest)
}

/// Reads the manifest, whatever it says.
pub(crate) fn manifest_of<'data>(file: &impl Object<'data>) -> Result<Manifest, Refusal> {
    let section = file.section_by_name(SECTION).ok_or(Refusal::NoManifest)?;
    let record = section.data().map_err(|error| Refusal::BadManifest { reason: error.to_string() })?;
    if record.len() > MAX_RECORD_BYTES {
        let reason = format!("it has {} bytes, at most {MAX_RECORD_BYTES} are read", record.len());
        return Err(Refusal::BadManifest { reason });
    }
    Manifest::from_record(record).map_err(|error| Refusal::BadManifest { reason: error.to_string() })
}

/// Checks the word size and the byte order of an ELF file; with others, all that follows would be misread.
pub(crate) fn check_class(bytes: &[u8]) -> Result<(), Refusal> {
    let (Some(b"\x7fELF"), Some(&[class @ 1..=2, order @ 1..=2])) = (bytes.get(..4), bytes.get(4..6)) else {
        // No ELF file, or one that is refused for more than this.
        return Ok(());
    };
    let show = |class, order| {
        format!("{}-bit {}-endian systems", if class == 2 { 64 } else { 32 }, if order == 1 { "little" } else { "big" })
    };
    let native = (if size_of::<usize>() == 8 { 2 } else { 1 }, if cfg!(target_endian = "little") { 1 } else { 2 });
    if (class, order) == native {
        return Ok(());
    }
    Err(Refusal::OtherPlatform { found: show(class, order), needed: show(native.0, native.1) })
}

/// Checks that the system's loader can follow what a library for this platform says.
pub(crate) fn check_loadable(bytes: &[u8]) -> Result<(), Refusal> {
    let checked = match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => loadable::check::<object::elf::FileHeader64<Endianness>>(bytes),
        Ok(FileKind::Elf32) => loadable::check::<object::elf::FileHeader32<Endianness>>(bytes),
        // The loaders of other systems do not end the process.
        _ => Ok(()),
    };
    checked.map_err(|reason| Refusal::Damaged { reason })
}

/// Checks that every part that the loader maps is inside the file.
fn check_complete(bytes: &[u8], kind: FileKind) -> Result<(), Refusal> {
    match kind {
        FileKind::Elf64 => check_elf::<object::elf::FileHeader64<Endianness>>(bytes),
        FileKind::Elf32 => check_elf::<object::elf::FileHeader32<Endianness>>(bytes),
        // The parsers of the other formats check their ranges when the sections are read.
        _ => Ok(()),
    }
}

fn check_elf<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<(), Refusal> {
    let incomplete = |what| move |_| Refusal::Incomplete { needed: "the table".into(), what };
    let header = H::parse(bytes).map_err(incomplete("the file header"))?;
    let endian = header.endian().map_err(incomplete("the file header"))?;
    if header.e_type(endian) != object::elf::ET_DYN {
        return Err(Refusal::NotALibrary("it is an object or a program, not a dynamic library"));
    }
    let segments = header.program_headers(endian, bytes).map_err(incomplete("the program headers"))?;
    let sections = header.section_headers(endian, bytes).map_err(incomplete("the section headers"))?;
    let len = bytes.len() as u64;
    let inside = |offset: u64, size: u64, what| match offset.checked_add(size) {
        Some(end) if end <= len => Ok(()),
        end => Err(Refusal::Incomplete { needed: format!("byte {}", end.unwrap_or(u64::MAX)), what }),
    };
    for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
        inside(segment.p_offset(endian).into(), segment.p_filesz(endian).into(), "a loaded segment")?;
    }
    for section in sections {
        if let Some((offset, size)) = section.file_range(endian) {
            inside(offset, size, "a section")?;
        }
    }
    // Reading the tables once more through the high-level parser catches what the ranges do not.
    ElfFile::<H>::parse(bytes).map(drop).map_err(|error| Refusal::Damaged { reason: error.to_string() })
}

/// Checks that a library is for the platform of this host.
pub(crate) fn check_platform(file: &File<'_>) -> Result<(), Refusal> {
    let found = (file.format(), file.architecture());
    let needed = (BinaryFormat::native_object(), native_architecture());
    if found == needed {
        return Ok(());
    }
    let show = |(format, architecture): (BinaryFormat, Architecture)| format!("{architecture:?} ({format:?})");
    Err(Refusal::OtherPlatform { found: show(found), needed: show(needed) })
}

fn native_architecture() -> Architecture {
    match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "x86" => Architecture::I386,
        "aarch64" => Architecture::Aarch64,
        "arm" => Architecture::Arm,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::PowerPc64,
        "s390x" => Architecture::S390x,
        "loongarch64" => Architecture::LoongArch64,
        _ => Architecture::Unknown,
    }
}

fn check_manifest(manifest: &Manifest) -> Result<(), Refusal> {
    let bad = |reason: String| Refusal::BadManifest { reason };
    let version = |text: &str| {
        parse_api_version(text).ok_or_else(|| Refusal::BadManifest { reason: format!("`{text}` is no version") })
    };
    let (host, built_with, needed) = (version(API_VERSION)?, version(&manifest.api)?, version(&manifest.needs_api)?);
    if built_with.0 != host.0 {
        return Err(Refusal::OtherApi { found: manifest.api.clone(), provided: API_VERSION.into() });
    }
    if needed > host {
        return Err(Refusal::NewerApi { needed: manifest.needs_api.clone(), provided: API_VERSION.into() });
    }
    if manifest.panic != "unwind" {
        return Err(Refusal::PanicStrategy { found: manifest.panic.clone() });
    }
    if let Some(service) = manifest.capabilities.iter().find(|service| !SERVICES.contains(&service.as_str())) {
        return Err(Refusal::MissingService { service: service.clone() });
    }
    if !is_id(&manifest.id) {
        return Err(bad(format!("`{}` is no plugin id", manifest.id.escape_debug())));
    }
    for (field, words) in [("version", &manifest.version), ("title", &manifest.title)] {
        if !is_one_line(words) {
            return Err(bad(format!("its {field} is not one short line of text")));
        }
    }
    for dependency in &manifest.depends {
        if let Err(error) = semver::VersionReq::parse(&dependency.version) {
            let version = dependency.version.escape_debug();
            return Err(bad(format!("`{version}` says of no version of `{}` that it will do: {error}", dependency.id)));
        }
    }
    check_triggers(&manifest.triggers).map_err(bad)
}

/// Whether a version or a title is something that people can be shown.
pub(crate) fn is_one_line(words: &str) -> bool {
    !words.is_empty() && words.len() <= MAX_WORDS_BYTES && !words.chars().any(char::is_control)
}

fn check_triggers(triggers: &[ManifestTrigger]) -> Result<(), String> {
    if triggers.len() > MAX_TRIGGERS {
        return Err(format!("it has {} handlers, at most {MAX_TRIGGERS} are taken", triggers.len()));
    }
    let mut seen = HashSet::new();
    for ManifestTrigger { number, name, .. } in triggers {
        if TriggerNumber::checked(*number).is_none() {
            return Err(format!("{number} is no trigger number"));
        }
        if !is_name(name) {
            return Err(format!("`{}` is no name for a handler", name.escape_debug()));
        }
        if !seen.insert((number, name)) {
            return Err(format!("it has {number:05} `{name}` twice"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(valid)
}

pub(crate) fn is_id(id: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=63).contains(&id.len()) && id.bytes().all(valid)
}
