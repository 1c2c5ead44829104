//! Group A: what the file itself says. Nothing in it runs.

use std::fs;
use std::path::Path;

use object::read::NameOrOrdinal;
use object::{File, FileKind, Object, ObjectSection, ObjectSymbol, SymbolKind};
use switchboard_plugin_api::host::{SECTION, module_symbol};

use super::Sheet;
use crate::plugins::{self, Candidate, Refusal};

mod elf;
#[cfg(unix)]
mod rights;

/// A library that is larger, in bytes, probably has debug information that nobody needs in a plugin folder.
const LARGE_BYTES: usize = 64 << 20;

/// Functions that change the process as a whole, or make another one.
///
/// `exit` is not among them: Rust's standard library imports it everywhere.
const PROCESS_WIDE: &[&str] = &[
    "fork",
    "vfork",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "execl",
    "execlp",
    "execle",
    "fexecve",
    "posix_spawn",
    "posix_spawnp",
    "system",
    "popen",
    "daemon",
    "ptrace",
    "setuid",
    "setgid",
    "seteuid",
    "setegid",
    "setreuid",
    "setresuid",
    "setresgid",
    "setgroups",
    "chroot",
    "dlopen",
    "dlclose",
    "signal",
    "sigaction",
    "sigprocmask",
    "pthread_sigmask",
    "setlocale",
    "chdir",
    "fchdir",
    "umask",
    "setenv",
    "unsetenv",
    "putenv",
    "clearenv",
    "setrlimit",
    "setrlimit64",
    "prctl",
    "atexit",
    "on_exit",
    "_exit",
    "_Exit",
    "quick_exit",
    "kill",
    "raise",
    "setpgid",
    "setsid",
    "fesetround",
    "fesetenv",
    "mallopt",
];

/// Reads the file. `None` when there is nothing to judge.
pub(super) fn read(sheet: &mut Sheet, candidate: &Candidate) -> Option<Vec<u8>> {
    match candidate.read() {
        Ok(bytes) => {
            sheet.done("A1");
            judge_rights(sheet, &candidate.path);
            sheet.done("A3");
            if bytes.len() > LARGE_BYTES {
                let found = format!("the library has {} MiB", bytes.len() >> 20);
                sheet.warn("A3", found, "strip it: `strip = \"debuginfo\"` in the profile");
            }
            Some(bytes)
        }
        Err(refusal @ Refusal::TooLarge { .. }) => {
            sheet.done("A1");
            sheet.fail("A3", refusal.to_string(), "strip it: `strip = \"debuginfo\"` in the profile");
            None
        }
        Err(refusal) if candidate.is_empty_file() => {
            sheet.done("A1");
            sheet.fail("A3", refusal.to_string(), "copy the library again");
            None
        }
        Err(refusal) => {
            sheet.fail("A1", refusal.to_string(), "give the path of the built library itself");
            None
        }
    }
}

#[cfg(unix)]
fn judge_rights(sheet: &mut Sheet, path: &Path) {
    sheet.done("A2");
    rights::judge(sheet, path);
}

#[cfg(not(unix))]
fn judge_rights(sheet: &mut Sheet, _path: &Path) {
    sheet.skip("A2", "rights are looked at on Unix only");
}

/// Judges the bytes. `None` when they cannot be read as a library.
pub(super) fn judge(sheet: &mut Sheet, bytes: &[u8]) -> Option<()> {
    let Ok(kind) = FileKind::parse(bytes) else {
        sheet.fail("A4", "its content is not that of a library", "build the crate with `crate-type = [\"cdylib\"]`");
        return None;
    };
    if let Err(refusal) = plugins::check_class(bytes) {
        sheet.fail("A4", refusal.to_string(), "build the plugin for the platform of the host (`cargo build --target`)");
        return None;
    }
    match kind {
        FileKind::Elf64 => elf::judge::<object::elf::FileHeader64<object::Endianness>>(sheet, bytes)?,
        FileKind::Elf32 => elf::judge::<object::elf::FileHeader32<object::Endianness>>(sheet, bytes)?,
        _ => {
            for id in ["A5", "A6", "A7", "A10", "A11"] {
                sheet.skip(id, "is looked at in ELF files only");
            }
        }
    }
    let file = match File::parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            sheet.fail("A6", format!("the file is damaged ({error})"), "copy the library again");
            return None;
        }
    };
    sheet.done("A4");
    if let Err(refusal) = plugins::check_platform(&file) {
        sheet.fail("A4", refusal.to_string(), "build the plugin for the platform of the host (`cargo build --target`)");
        return None;
    }
    if let Err(refusal) = plugins::check_loadable(bytes) {
        sheet.fail("A7", refusal.to_string(), "copy the library again, or build it again");
        return None;
    }
    judge_entry(sheet, &file);
    judge_section(sheet, &file);
    judge_imports(sheet, &file);
    judge_exports(sheet, &file);
    judge_contents(sheet, &file);
    Some(())
}

/// The name of the entry as a symbol table writes it.
fn entry() -> &'static str {
    module_symbol().trim_end_matches('\0')
}

fn judge_entry(sheet: &mut Sheet, file: &File<'_>) {
    sheet.done("A8");
    // Apple's linker puts an underscore before every name.
    if !exported(file).iter().any(|name| name.ends_with(entry())) {
        let found = format!("the library does not export `{}`", entry());
        sheet.fail("A8", found, "add `export_plugin!(YourPlugin);` to the crate, once");
        return;
    }
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(entry()));
    if let Some(symbol) = symbol.filter(|symbol| symbol.kind() != SymbolKind::Data) {
        let found = format!("`{}` is no data symbol but {:?}", entry(), symbol.kind());
        sheet.fail("A8", found, "let `export_plugin!` make the entry");
    }
}

fn judge_section(sheet: &mut Sheet, file: &File<'_>) {
    sheet.done("A9");
    match plugins::manifest_of(file) {
        Ok(manifest) => {
            sheet.note("A9", format!("built with plugin-api {}, {}", manifest.api, manifest.rustc));
            sheet.done("A14");
            if manifest.panic != "unwind" {
                let found = format!("it was built with `panic = \"{}\"`: a panic would end the host", manifest.panic);
                sheet.fail("A14", found, "remove `panic` from the profile in Cargo.toml");
            }
        }
        Err(refusal @ Refusal::NoManifest) => {
            sheet.fail("A9", refusal.to_string(), "add `export_plugin!(YourPlugin);` to the crate, once");
        }
        // What it says wrong is for group B; here only its frame counts.
        Err(_) => {
            let section = file.section_by_name(SECTION).and_then(|section| section.data().ok()).unwrap_or_default();
            if !section.starts_with(&switchboard_plugin_api::host::MAGIC) {
                let found = format!("the section `{SECTION}` does not start with a manifest");
                sheet.fail("A9", found, "let `export_plugin!` make the section");
            }
        }
    }
}

fn judge_imports(sheet: &mut Sheet, file: &File<'_>) {
    sheet.done("A12");
    let Ok(imports) = file.imports() else { return };
    let names: Vec<_> = imports.flatten().filter_map(|import| text(import.name())).collect();
    let found: Vec<&str> = names.iter().map(String::as_str).filter(|name| PROCESS_WIDE.contains(name)).collect();
    if !found.is_empty() {
        sheet.warn(
            "A12",
            format!("it imports {}, which can change or end the host's process", quoted(&found)),
            "find which crate uses them (`cargo tree`), and leave the process to the host",
        );
    }
}

fn judge_exports(sheet: &mut Sheet, file: &File<'_>) {
    sheet.done("A13");
    let names = exported(file);
    let ours = |name: &str| name.ends_with(entry()) || name.ends_with("switchboard_plugin_record");
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| !ours(name)).collect();
    if !others.is_empty() {
        let found = format!("it also exports {}", quoted(&others));
        sheet.warn("A13", found, "remove `#[no_mangle]` and `extern \"C\"` from what is no entry");
    }
}

fn exported(file: &File<'_>) -> Vec<String> {
    let exports = file.exports().into_iter().flatten().flatten();
    exports.filter_map(|export| text(export.name())).collect()
}

fn text(name: NameOrOrdinal<&[u8]>) -> Option<String> {
    name.into_name().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// What is there to be known and is neither right nor wrong.
fn judge_contents(sheet: &mut Sheet, file: &File<'_>) {
    let debug = if file.has_debug_symbols() { "it has debug information" } else { "it has no debug information" };
    sheet.note("A14", debug);
    let listed = file.section_by_name(".dep-v0").is_some();
    sheet.note("A15", if listed { "listed" } else { "not listed; `cargo auditable build` adds the list" });
}

/// Writes names as a list, the first few of many.
fn quoted(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.escape_debug())).collect();
    if names.len() > SHOWN {
        list.push(format!("{} more", names.len() - SHOWN));
    }
    list.join(", ")
}

/// Finds a library in the places where the loader looks without being told.
fn find_library(name: &str) -> Option<std::path::PathBuf> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let from_environment = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let told = std::env::split_paths(&from_environment).collect::<Vec<_>>();
    let usual = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"].map(std::path::PathBuf::from);
    let of_triple = ["/lib", "/usr/lib", "/usr/local/lib"].map(|folder| Path::new(folder).join(&triple));
    let mut places = told.into_iter().chain(usual).chain(of_triple);
    places.find_map(|place| Some(place.join(name)).filter(|path| fs::exists(path).unwrap_or(false)))
}
