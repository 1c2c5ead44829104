//! What only ELF files have: segments, the dynamic section, versions of symbols.

use object::Endianness;
use object::elf::{
    DF_1_NOW, DF_BIND_NOW, DT_BIND_NOW, DT_FLAGS, DT_FLAGS_1, DT_INIT_ARRAYSZ, DT_NEEDED, DT_RPATH, DT_RUNPATH, ET_DYN,
    PF_W, PF_X, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD,
};
use object::read::elf::{DynamicTable, FileHeader, ProgramHeader, SectionHeader, SectionTable};

use super::{Sheet, find_library};

/// What a Rust library has among its initialisers: the toolchain's `frame_dummy` and the arguments of the process.
const USUAL_INITIALISERS: u64 = 2;

/// Judges an ELF file of one class. `None` when it cannot be read further.
pub(super) fn judge<H: FileHeader<Endian = Endianness>>(sheet: &mut Sheet, bytes: &[u8]) -> Option<()> {
    let again = "copy the library again";
    let Ok(header) = H::parse(bytes) else {
        sheet.fail("A4", "its header is not that of a library for any platform", again);
        return None;
    };
    let Ok(endian) = header.endian() else {
        sheet.fail("A4", "its header is not that of a library for any platform", again);
        return None;
    };
    sheet.done("A5");
    if header.e_type(endian) != ET_DYN {
        let found = "it is an object or a program, not a dynamic library";
        sheet.fail("A5", found, "build the crate with `crate-type = [\"cdylib\"]`");
        return None;
    }
    sheet.done("A6");
    let (segments, sections) = match (header.program_headers(endian, bytes), header.sections(endian, bytes)) {
        (Ok(segments), Ok(sections)) => (segments, sections),
        _ => {
            sheet.fail("A6", "the file ends before its tables of segments and sections", again);
            return None;
        }
    };
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        sheet.fail(
            "A5",
            "it names an interpreter: it is a program",
            "build the crate with `crate-type = [\"cdylib\"]`",
        );
    }
    judge_complete::<H>(sheet, bytes, endian, segments, &sections)?;
    judge_segments::<H>(sheet, endian, segments);
    match sections.dynamic_table(endian, bytes) {
        Ok(dynamic) if !dynamic.is_empty() => judge_dynamic::<H>(sheet, bytes, endian, &dynamic, &sections),
        _ => sheet.fail("A10", "it has no dynamic section that can be read", again),
    }
    Some(())
}

fn judge_complete<H: FileHeader<Endian = Endianness>>(
    sheet: &mut Sheet,
    bytes: &[u8],
    endian: Endianness,
    segments: &[H::ProgramHeader],
    sections: &SectionTable<'_, H>,
) -> Option<()> {
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let loaded = loaded.map(|segment| ("a loaded segment", segment.file_range(endian)));
    let named = sections.iter().filter_map(|section| Some(("a section", section.file_range(endian)?)));
    let len = bytes.len() as u64;
    for (what, (offset, size)) in loaded.chain(named) {
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end > len) {
            let needed = end.map_or_else(|| "beyond any file".to_owned(), |end| format!("at byte {end}"));
            let found = format!("the file has {len} bytes, {what} ends {needed}");
            sheet.fail("A6", found, "copy the library again");
            return None;
        }
    }
    Some(())
}

fn judge_segments<H: FileHeader<Endian = Endianness>>(
    sheet: &mut Sheet,
    endian: Endianness,
    segments: &[H::ProgramHeader],
) {
    let damaged = "the file is damaged or was changed after it was linked: build it again";
    sheet.done("A7");
    let mut end = 0_u64;
    for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
        let (start, in_memory): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_memsz(endian).into());
        let (offset, in_file): (u64, u64) = segment.file_range(endian);
        let align: u64 = segment.p_align(endian).into();
        if start < end {
            sheet.fail("A7", format!("the loaded segment at {start:#x} overlaps the one before it"), damaged);
        }
        if in_file > in_memory || start.checked_add(in_memory).is_none() {
            sheet.fail("A7", format!("the loaded segment at {start:#x} is larger in the file than in memory"), damaged);
        }
        if align > 1 && (!align.is_power_of_two() || start % align != offset % align) {
            sheet.fail("A7", format!("the loaded segment at {start:#x} is not aligned"), damaged);
        }
        let flags = segment.p_flags(endian);
        if flags.contains(PF_W) && flags.contains(PF_X) {
            let found = format!("the loaded segment at {start:#x} is writable and executable");
            sheet.fail("A7", found, "find what asks for it: a linker script, or assembly code");
        }
        end = start.saturating_add(in_memory);
    }
    let of = |wanted| segments.iter().find(|segment| segment.p_type(endian) == wanted);
    if of(PT_GNU_STACK).is_none_or(|segment| segment.p_flags(endian).contains(PF_X)) {
        let found = "it asks for an executable stack, which current systems refuse to load";
        sheet.fail("A7", found, "add `.note.GNU-stack` to the assembly code in it");
    }
    if of(PT_GNU_RELRO).is_none() {
        sheet.warn("A7", "its tables of addresses stay writable", "link with `-z relro`, which is the default");
    }
}

fn judge_dynamic<H: FileHeader<Endian = Endianness>>(
    sheet: &mut Sheet,
    bytes: &[u8],
    endian: Endianness,
    dynamic: &DynamicTable<'_, H>,
    sections: &SectionTable<'_, H>,
) {
    sheet.done("A10");
    sheet.done("A11");
    let mut needed = Vec::new();
    let mut binds_now = false;
    for entry in dynamic {
        let text = || String::from_utf8_lossy(dynamic.string(entry).unwrap_or_default()).into_owned();
        match entry.tag {
            DT_NEEDED => needed.push(text()),
            DT_RPATH | DT_RUNPATH => sheet.warn(
                "A10",
                format!("it looks for libraries in `{}`, where anybody may have placed one", text()),
                "link without `-rpath`",
            ),
            DT_FLAGS => binds_now |= DF_BIND_NOW.0 & entry.val != 0,
            DT_FLAGS_1 => binds_now |= DF_1_NOW.0 & entry.val != 0,
            DT_BIND_NOW => binds_now = true,
            DT_INIT_ARRAYSZ => {
                let count = entry.val / size_of_word::<H>();
                if count > USUAL_INITIALISERS {
                    sheet.warn(
                        "A11",
                        format!("{} functions of its own run when it is opened", count - USUAL_INITIALISERS),
                        "do it in `Plugin::new`, where an error can be reported",
                    );
                }
            }
            _ => {}
        }
    }
    if !binds_now {
        sheet.warn("A7", "symbols are looked up at the first call", "link with `-z now`, which is the default");
    }
    for name in needed.iter().filter(|name| !name.starts_with("ld-linux")) {
        if find_library(name).is_none() {
            sheet.warn(
                "A10",
                format!("it needs the library `{}`, which is in none of the usual places", name.escape_debug()),
                "install it on the host, or link it into the plugin",
            );
        }
    }
    judge_versions::<H>(sheet, bytes, endian, sections);
}

fn size_of_word<H: FileHeader>() -> u64 {
    if H::is_type_64_sized() { 8 } else { 4 }
}

/// Compares the versions of the C library's symbols that the plugin needs with those that the C library here has.
fn judge_versions<H: FileHeader<Endian = Endianness>>(
    sheet: &mut Sheet,
    bytes: &[u8],
    endian: Endianness,
    sections: &SectionTable<'_, H>,
) {
    let Some(needed) = needed_versions::<H>(bytes, endian, sections) else { return };
    let Some(library) = find_library("libc.so.6").and_then(|path| std::fs::read(path).ok()) else { return };
    let Some(offered) = offered_versions::<H>(&library) else { return };
    let missing: Vec<&str> = needed.iter().filter(|name| !offered.contains(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        sheet.fail(
            "A10",
            format!("it needs a newer C library: {} is missing here", missing.join(", ")),
            "build it on the oldest system that it has to run on",
        );
    }
}

fn needed_versions<H: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    endian: Endianness,
    sections: &SectionTable<'_, H>,
) -> Option<Vec<String>> {
    let (needs, link) = sections.gnu_verneed(endian, bytes).ok()??;
    let strings = sections.strings(endian, bytes, link).ok()?;
    let mut names = Vec::new();
    for (need, versions) in needs.flatten() {
        if need.file(endian, strings).ok()? == b"libc.so.6" {
            names.extend(
                versions.flatten().filter_map(|version| {
                    Some(String::from_utf8_lossy(version.name(endian, strings).ok()?).into_owned())
                }),
            );
        }
    }
    Some(names)
}

fn offered_versions<H: FileHeader<Endian = Endianness>>(library: &[u8]) -> Option<Vec<String>> {
    let header = H::parse(library).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, library).ok()?;
    let (offers, link) = sections.gnu_verdef(endian, library).ok()??;
    let strings = sections.strings(endian, library, link).ok()?;
    let names = offers.flatten().flat_map(|(_, names)| names.flatten().take(1).collect::<Vec<_>>());
    Some(
        names.filter_map(|name| Some(String::from_utf8_lossy(name.name(endian, strings).ok()?).into_owned())).collect(),
    )
}
