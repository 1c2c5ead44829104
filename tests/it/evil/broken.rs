//! Libraries that are broken in one way each, and what a host and `plugin check` say about them.

use serde_json::{Value, json};

use super::elf::*;

/// A broken library.
pub(super) struct Broken {
    pub(super) name: &'static str,
    /// Part of the reason for which a host refuses it.
    pub(super) says: &'static str,
    /// The check of the level `static` that fails; empty where only opening it can tell.
    pub(super) check: &'static str,
    pub(super) damage: fn(&mut Elf),
}

const fn broken(name: &'static str, check: &'static str, says: &'static str, damage: fn(&mut Elf)) -> Broken {
    Broken { name, says, check, damage }
}

/// Changes the manifest as JSON.
fn manifest(elf: &mut Elf, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_str(&elf.manifest()).unwrap();
    change(&mut json);
    elf.put_manifest(json.to_string().as_bytes());
}

fn first(elf: &Elf, kind: u32) -> usize {
    elf.segments(kind)[0]
}

const NO_LIBRARY: &str = "its content is not that of a library";

pub(super) const FILES: &[Broken] = &[
    // What is no library at all.
    broken("one-byte", "A4", NO_LIBRARY, |elf| elf.0.truncate(1)),
    broken("magic-only", "A4", NO_LIBRARY, |elf| elf.0.truncate(4)),
    broken("zeros", "A4", NO_LIBRARY, |elf| elf.0 = vec![0; 4096]),
    broken("script", "A4", NO_LIBRARY, |elf| elf.0 = b"#!/bin/sh\nexit 0\n".to_vec()),
    broken("gzip", "A4", NO_LIBRARY, |elf| elf.put(0, b"\x1f\x8b\x08\0")),
    broken("webassembly", "A4", NO_LIBRARY, |elf| elf.0 = b"\0asm\x01\0\0\0".to_vec()),
    broken("archive", "A4", NO_LIBRARY, |elf| {
        elf.0 = b"!<arch>\nmember.o/       0           0     0     644     0         `\n".to_vec()
    }),
    broken("pe", "A4", NO_LIBRARY, |elf| {
        elf.0 = [b"MZ".to_vec(), vec![0; 58], vec![64, 0, 0, 0], b"PE\0\0\x64\x86".to_vec(), vec![0; 300]].concat()
    }),
    broken("mach-o", "A4", "built for Aarch64 (MachO)", |elf| {
        elf.0 = [b"\xcf\xfa\xed\xfe\x0c\0\0\x01\0\0\0\0\x06\0\0\0".to_vec(), vec![0; 300]].concat()
    }),
    // The header.
    broken("class-32", "A4", "built for 32-bit little-endian systems", |elf| elf.put(4, &[1])),
    broken("class-9", "A4", NO_LIBRARY, |elf| elf.put(4, &[9])),
    broken("big-endian", "A4", "built for 64-bit big-endian systems", |elf| elf.put(5, &[2])),
    broken("other-system", "A7", "it is for another operating system (OS ABI 9)", |elf| elf.put(7, &[9])),
    broken("header-version", "A4", "of the file header; copy it again", |elf| elf.put(6, &[7])),
    broken("version", "A7", "its header has an unknown version", |elf| elf.put(20, &[7])),
    broken("machine-0", "A4", "built for Unknown", |elf| elf.put(18, &[0, 0])),
    broken("object-file", "A5", "an object or a program", |elf| elf.put(16, &[1])),
    broken("program", "A5", "an object or a program", |elf| elf.put(16, &[2])),
    broken("core-dump", "A5", "an object or a program", |elf| elf.put(16, &[4])),
    broken("interpreter", "A5", "it is a program: it names an interpreter", |elf| {
        let note = first(elf, PT_NOTE);
        elf.put(note + P_TYPE, &PT_INTERP.to_le_bytes());
    }),
    broken("size-of-segment-headers", "A6", "incomplete", |elf| elf.put(54, &[55])),
    broken("size-of-section-headers", "A6", "incomplete", |elf| elf.put(58, &[63])),
    broken("no-segments", "A7", "it has nothing to load", |elf| elf.put(56, &[0, 0])),
    broken("65535-segments", "A7", "it has nothing to load", |elf| elf.put(56, &[0xff, 0xff])),
    broken("name-table", "A6", "the file is damaged (Invalid ELF e_shstrndx)", |elf| elf.put(62, &[0xfe, 0xfe])),
    // Segments.
    broken("nothing-to-load", "A7", "it has nothing to load", |elf| {
        for at in elf.segments(PT_LOAD) {
            elf.put(at + P_TYPE, &PT_NOTE.to_le_bytes());
        }
    }),
    broken("segment-outside", "A6", "of a loaded segment; copy it again", |elf| {
        let at = first(elf, PT_LOAD);
        elf.put_u64(at + P_FILESZ, 1 << 40);
    }),
    broken("segment-at-the-end-of-numbers", "A6", "of a loaded segment; copy it again", |elf| {
        let at = first(elf, PT_LOAD);
        elf.put_u64(at + P_OFFSET, u64::MAX);
    }),
    broken("segment-shrinks", "A7", "is larger in the file than in memory", |elf| {
        let at = first(elf, PT_LOAD);
        elf.put_u64(at + P_MEMSZ, 1);
    }),
    broken("segment-alignment", "A7", "is not aligned", |elf| {
        let at = elf.segments(PT_LOAD)[1];
        elf.put_u64(at + P_ALIGN, 4095);
    }),
    broken("segment-moved", "A7", "is not aligned", |elf| {
        let at = elf.segments(PT_LOAD)[1];
        elf.put_u64(at + P_VADDR, 0x10_0001);
    }),
    broken("segment-far-away", "A7", "is out of place", |elf| {
        let at = *elf.segments(PT_LOAD).last().unwrap();
        elf.put_u64(at + P_MEMSZ, 1 << 46);
    }),
    broken("segments-overlap", "A7", "is out of place", |elf| {
        let at = first(elf, PT_LOAD);
        elf.put_u64(at + P_MEMSZ, 1 << 29);
    }),
    // The dynamic section: what the loader follows without looking.
    broken("no-dynamic-segment", "A7", "it has no dynamic segment", |elf| {
        let at = first(elf, PT_DYNAMIC);
        elf.put(at + P_TYPE, &PT_NOTE.to_le_bytes());
    }),
    broken("dynamic-elsewhere", "A7", "its dynamic segment is outside", |elf| {
        let at = first(elf, PT_DYNAMIC);
        elf.put_u64(at + P_VADDR, 0x7fff_ffff_0000);
    }),
    broken("dynamic-without-end", "A7", "its dynamic segment has no end", |elf| {
        let (start, _) = elf.contents(".dynamic");
        let at = first(elf, PT_DYNAMIC);
        elf.put_u64(at + P_FILESZ, 16);
        assert!(start > 0);
    }),
    broken("names-elsewhere", "A7", "its table of names is", |elf| elf.put_u64(elf.dynamic(5), 0xdead_beef_0000)),
    broken("names-too-long", "A7", "its table of names is", |elf| elf.put_u64(elf.dynamic(10), 1 << 40)),
    broken("symbols-elsewhere", "A7", "its table of symbols is", |elf| elf.put_u64(elf.dynamic(6), 0xdead_beef_0000)),
    broken("index-elsewhere", "A7", "its index of symbols is damaged", |elf| {
        elf.put_u64(elf.dynamic(0x6fff_fef5), 1 << 40)
    }),
    broken("index-of-nothing", "A7", "its index of symbols is damaged", |elf| {
        let (start, _) = elf.contents(".gnu.hash");
        elf.put(start, &[0; 4]);
    }),
    broken("versions-elsewhere", "A7", "its table of versions is", |elf| {
        elf.put_u64(elf.dynamic(0x6fff_fff0), 1 << 40)
    }),
    broken("needs-no-name", "A7", "whose name is outside", |elf| elf.put_u64(elf.dynamic(1), 1 << 30)),
    broken("initialiser-is-data", "A7", "its initialiser is no code", |elf| elf.put_u64(elf.dynamic(12), 0x10)),
    broken("initialisers-elsewhere", "A7", "its table of initialisers is", |elf| elf.put_u64(elf.dynamic(25), 1 << 40)),
    broken("relocations-elsewhere", "A7", "its relocations are damaged", |elf| elf.put_u64(elf.dynamic(7), 1 << 40)),
    broken("relocation-into-code", "A7", "its relocations are damaged", |elf| {
        let (start, _) = elf.contents(".rela.dyn");
        elf.put_u64(start, 0x10);
    }),
    broken("relocation-of-no-symbol", "A7", "its relocations are damaged", |elf| {
        let (start, _) = elf.contents(".rela.dyn");
        elf.put(start + 12, &[0xff; 4]);
    }),
    // What only the loader can tell: it says so and ends nothing.
    broken("library-missing", "", "cannot open shared object file", |elf| elf.rename("libc.so.6\0", "libq.so.6\0")),
    broken("entry-missing", "A8", "undefined symbol: _1as_0lib", |elf| {
        elf.rename("\0_1as_0lib_1header", "\0_2as_0lib_1header")
    }),
    // The manifest.
    broken("manifest-elsewhere", "A6", "of a section; copy it again", |elf| {
        elf.put_section(".switchboard", SH_OFFSET, 1 << 40)
    }),
    broken("manifest-renamed", "A9", "it has no manifest", |elf| elf.rename("\0.switchboard\0", "\0.switchbored\0")),
    broken("manifest-empty", "A9", "does not start with a manifest", |elf| elf.put_record(b"")),
    broken("manifest-of-a-later-kind", "A9", "does not start with a manifest", |elf| {
        elf.put_record(b"SWBPLUG2\x02\0\0\0{}")
    }),
    broken("manifest-without-length", "B1", "the manifest is cut off", |elf| elf.put_record(b"SWBPLUG1\x02")),
    broken("manifest-cut", "B1", "the manifest is cut off", |elf| elf.put_record(b"SWBPLUG1\xff\xff\xff\xff{}")),
    broken("manifest-not-json", "B1", "the manifest cannot be read", |elf| elf.put_manifest(b"\xff\xfe")),
    broken("manifest-of-nothing", "B1", "missing field", |elf| elf.put_manifest(b"{}")),
    broken("manifest-deep", "B1", "the manifest cannot be read", |elf| {
        elf.put_manifest("[".repeat(100_000).as_bytes())
    }),
    broken("manifest-huge", "B1", "at most 262144 are read", |elf| {
        manifest(elf, |json| json["title"] = "x".repeat(1 << 20).into())
    }),
    broken("manifest-id-leaves", "B2", "`../../rival` is no plugin id", |elf| {
        manifest(elf, |json| json["id"] = "../../rival".into())
    }),
    broken("manifest-id-long", "B2", "is no plugin id", |elf| manifest(elf, |json| json["id"] = "x".repeat(64).into())),
    broken("manifest-title", "B1", "its title is not one short line", |elf| {
        manifest(elf, |json| json["title"] = "two\u{1b}[2J\nlines".into())
    }),
    broken("manifest-number", "B5", "100000 is no trigger number", |elf| {
        manifest(elf, |json| json["triggers"][0]["number"] = 100_000.into())
    }),
    broken("manifest-name", "B5", r"`a\nb` is no name for a handler", |elf| {
        manifest(elf, |json| json["triggers"][0]["name"] = "a\nb".into())
    }),
    broken("manifest-twice", "B5", "twice", |elf| {
        manifest(elf, |json| json["triggers"][1] = json["triggers"][0].clone())
    }),
    broken("manifest-kind", "B1", "unknown variant", |elf| {
        manifest(elf, |json| json["triggers"][0]["kind"] = "quantum".into())
    }),
    broken("manifest-handlers", "B5", "it has 2000 handlers", |elf| {
        manifest(elf, |json| {
            let handler = |number: u32| json!({ "number": 21_001, "name": format!("h{number}"), "kind": "sync" });
            json["triggers"] = (0..2_000).map(handler).collect();
        })
    }),
    broken("manifest-service", "B4", "needs the host service `teleport`", |elf| {
        manifest(elf, |json| json["capabilities"] = json!(["teleport"]))
    }),
    broken("manifest-aborts", "A14", "built with `panic = \"abort\"`", |elf| {
        manifest(elf, |json| json["panic"] = "abort".into())
    }),
    broken("manifest-version", "B4", "is no version", |elf| manifest(elf, |json| json["api"] = "one".into())),
];

/// Manifests that say something else than the library does, which only calls can tell: nothing else is harmed by them.
pub(super) fn lies(elf: &Elf) -> [(&'static str, Elf, &'static str); 2] {
    let lie = |change: fn(&mut Value)| {
        let mut elf = elf.clone();
        manifest(&mut elf, change);
        elf
    };
    let more = lie(|json| {
        json["id"] = "rival-more".into();
        let triggers = json["triggers"].as_array_mut().unwrap();
        for number in 0..20 {
            triggers.push(json!({ "number": 21_102, "name": format!("more{number}"), "kind": "sync" }));
        }
    });
    let asynchronous = lie(|json| {
        json["id"] = "rival-async".into();
        json["triggers"] = json!([{ "number": 21_103, "name": "x_b", "kind": "async" }]);
    });
    [("21102", more, "this plugin has no handler"), ("21103", asynchronous, "this handler is synchronous")]
}
