//! The layout of all that crosses the boundary, as text that is kept beside the crate.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use abi_stable::type_layout::{TLData, TLFields, TypeLayout};

use super::*;

/// Environment variable that writes the file anew.
const BLESS: &str = "SWITCHBOARD_BLESS";

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
            writeln!(text, " module, may grow after {} fields{}", data.first_suffix_field, fields_of(data.fields))
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

#[test]
#[cfg(target_pointer_width = "64")]
fn the_boundary_is_the_one_that_this_version_promises() {
    let found = boundary();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("abi-{}.txt", crate::API_VERSION));
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let promised = std::fs::read_to_string(&path).unwrap_or_default();
    // A checkout may have changed the ends of the lines.
    let promised: Vec<&str> = promised.lines().collect();
    let found: Vec<&str> = found.lines().collect();
    let gone: Vec<_> = promised.iter().filter(|line| !found.contains(line)).collect();
    let new: Vec<_> = found.iter().filter(|line| !promised.contains(line)).collect();
    assert!(
        promised == found,
        "the plugin boundary has changed: if that is meant, raise the version in plugin-api/Cargo.toml and write \
         plugin-api/abi-<version>.txt ({BLESS}=1 does); if it is not, undo it\ngone: {gone:#?}\nnew: {new:#?}"
    );
}
