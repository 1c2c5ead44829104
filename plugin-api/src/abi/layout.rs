//! The layout of all that crosses the boundary, as text that is kept beside the crate.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use abi_stable::type_layout::{TLData, TLFields, TypeLayout};

use super::*;

/// Environment variable that writes the file anew.
const BLESS: &str = "SWITCHBOARD_BLESS";
/// What stands before the number of fields that every version of a growing type has.
const MAY_GROW: &str = " module, may grow after ";

/// Returns every type that a host and a plugin exchange, each with its fields and signatures, in the order of their names.
fn boundary() -> String {
    // Not keyed by the name: it leaves out the generic types of some.
    let mut types = BTreeSet::new();
    let mut open = vec![<PluginModule_Ref as StableAbi>::LAYOUT];
    let mut seen = Vec::new();
    while let Some(layout) = open.pop() {
        let id = layout.get_utypeid();
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        open.extend(layout.shared_vars().type_layouts().iter().map(|layout| layout()));
        if let Some(checks) = layout.extra_checks() {
            open.extend(checks.nested_type_layouts().iter().copied());
        }
        types.insert(describe(layout));
    }
    types.into_iter().collect()
}

fn describe(layout: &'static TypeLayout) -> String {
    let mut text = format!("{} size={} align={}", layout.full_type(), layout.size(), layout.alignment());
    // Writing to a String cannot fail.
    let _ = match layout.data() {
        TLData::Primitive(_) => writeln!(text, " primitive"),
        TLData::Opaque => writeln!(text, " opaque"),
        TLData::Struct { fields } => writeln!(text, " struct{}", fields_of(fields)),
        TLData::Union { fields } => writeln!(text, " union{}", fields_of(fields)),
        TLData::Enum(data) => writeln!(
            text,
            " enum\n    variants {}{}",
            data.variant_names_iter().collect::<Vec<_>>().join(", "),
            fields_of(data.fields)
        ),
        TLData::PrefixType(data) => {
            writeln!(text, "{MAY_GROW}{} fields{}", data.first_suffix_field, fields_of(data.fields))
        }
    };
    text
}

fn fields_of(fields: TLFields) -> String {
    fields.iter().fold(String::new(), |mut text, field| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n    {}: {}", field.name(), field.full_type());
        for function in field.function_range().iter() {
            let signature = function.to_string();
            let words: Vec<_> = signature.split_whitespace().collect();
            let _ = write!(text, "\n        {}", words.join(" "));
        }
        text
    })
}

/// Returns the types of a snapshot, each as its first line and the lines of its fields.
fn types(snapshot: &str) -> Vec<Vec<&str>> {
    snapshot.lines().fold(Vec::new(), |mut types: Vec<Vec<&str>>, line| {
        match types.last_mut() {
            Some(last) if line.starts_with(' ') => last.push(line),
            _ => types.push(vec![line]),
        }
        types
    })
}

/// Returns name and prefix length of a type that may grow, from the first line of its description.
fn growing(line: &str) -> Option<(&str, &str)> {
    let (head, prefix) = line.split_once(MAY_GROW)?;
    Some((head.split_once(" size=")?.0, prefix))
}

/// Returns the types of an older snapshot that a plugin of its time would not find any more: those that are gone or
/// different, unless they are modules and tables of functions that have grown at their end.
fn broken<'a>(older: &'a str, newer: &str) -> Vec<&'a str> {
    let newer = types(newer);
    let stands = |old: &Vec<&str>, new: &Vec<&str>| {
        let grown = growing(old[0]).is_some() && growing(old[0]) == growing(new[0]) && new[1..].starts_with(&old[1..]);
        old == new || grown
    };
    let gone = types(older).into_iter().filter(|old| !newer.iter().any(|new| stands(old, new)));
    gone.map(|old| old[0]).collect()
}

/// Returns the snapshot of a version; empty when there is none.
fn promised(version: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("abi-{version}.txt"));
    // A checkout may have changed the ends of the lines.
    std::fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n")
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_boundary_is_the_one_that_this_version_promises() {
    let found = boundary();
    if std::env::var_os(BLESS).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("abi-{}.txt", crate::API_VERSION));
        std::fs::write(path, &found).unwrap();
    }
    let promised = promised(crate::API_VERSION);
    assert!(
        !promised.is_empty(),
        "plugin-api/abi-{}.txt is missing: a new version writes down its boundary ({BLESS}=1 does)",
        crate::API_VERSION
    );
    let gone: Vec<_> = promised.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
    let new: Vec<_> = found.lines().filter(|line| !promised.lines().any(|other| other == *line)).collect();
    assert!(
        promised == found,
        "the plugin boundary is not the one of plugin-api-{}: if that is meant, raise the version in \
         plugin-api/Cargo.toml and write plugin-api/abi-<version>.txt ({BLESS}=1 does); if it is not, undo it\n\
         gone: {gone:#?}\nnew: {new:#?}",
        crate::API_VERSION
    );
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_boundary_holds_all_that_earlier_minor_versions_promised() {
    let (major, minor) = crate::api_version();
    let found = boundary();
    for minor in 0..minor {
        let older = promised(&format!("{major}.{minor}"));
        assert!(!older.is_empty(), "plugin-api/abi-{major}.{minor}.txt is missing");
        let broken = broken(&older, &found);
        assert!(
            broken.is_empty(),
            "a plugin built with {major}.{minor} cannot be loaded any more: only the tables of functions may change, \
             and only grow at their end; anything else is a new major version\nchanged: {broken:#?}"
        );
    }
}

#[test]
fn a_table_may_grow_at_its_end_and_nothing_else_may_change() {
    let older = "AbiError size=8 align=8 struct\n    kind: u32\n\
                 PluginModule size=16 align=8 module, may grow after 1 fields\n    start: fn\n        fn()->u32\n";
    let module = "PluginModule size=16 align=8 module, may grow after 1 fields";
    let changed = |from: &str, to: &str| broken(older, &older.replace(from, to)).len();
    assert_eq!(changed("", ""), 0);
    let grown = older.replace("size=16", "size=24") + "    added: fn\n        fn()->u8\n";
    assert_eq!(broken(older, &grown), Vec::<&str>::new());
    assert_eq!(broken(&grown, older), [module.replace("size=16", "size=24")], "a table may not shrink");
    assert_eq!(changed("    kind: u32\n", "    kind: u32\n    later: u32\n"), 1, "a struct may not grow");
    assert_eq!(changed("fn()->u32", "fn()->u64"), 1, "a signature may not change");
    assert_eq!(changed("    start: fn", "    earlier: fn\n    start: fn"), 1, "a table may not grow at its start");
    assert_eq!(changed("after 1 fields", "after 2 fields"), 1, "what a plugin can do without may not become needed");
    assert_eq!(changed("AbiError", "Error"), 1, "a type may not be renamed");
}
