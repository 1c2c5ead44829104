//! The table for people says what the code does.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use switchboard_plugin_api::{
    AfterRun, DeferredDelivery, EndOfRun, ImmediateDelivery, LanguageInit, PublicTask, TABLE, Trigger,
    WebhookRegistration, WebhookValidation, access_level,
};

/// Returns the rows of the table by the names of its columns.
fn rows() -> Vec<BTreeMap<String, String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("trigger-table.md");
    let text = fs::read_to_string(file).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
    let header = lines.next().unwrap();
    let rule = lines.next().unwrap();
    assert!(rule.iter().all(|cell| cell == "---"), "{rule:?}");
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), header.len(), "{cells:?}");
        header.iter().cloned().zip(cells).collect()
    };
    lines.map(row).collect()
}

/// Returns the last segment of a type's path.
fn short<T>() -> &'static str {
    type_name::<T>().rsplit("::").next().unwrap()
}

/// Returns number, name, input and output of a typed trigger.
fn typed<T: Trigger>() -> [String; 4] {
    [T::NUMBER.to_string(), short::<T>().into(), short::<T::Input>().into(), short::<T::Output>().into()]
}

#[test]
fn the_table_lists_the_numbers_of_the_code_with_name_access_and_version() {
    let written: Vec<_> = rows()
        .into_iter()
        .map(|row| [row["Number"].clone(), row["Name"].clone(), row["Access"].clone(), row["Since"].clone()])
        .collect();
    let coded: Vec<_> = TABLE
        .iter()
        .map(|row| [row.number.to_string(), row.name.into(), row.access.0.to_string(), row.since.into()])
        .collect();
    assert_eq!(written, coded);
}

#[test]
fn the_table_names_the_types_of_every_typed_trigger() {
    let typed = [
        typed::<LanguageInit>(),
        typed::<PublicTask>(),
        typed::<WebhookRegistration>(),
        typed::<WebhookValidation>(),
        typed::<ImmediateDelivery>(),
        typed::<DeferredDelivery>(),
        typed::<AfterRun>(),
        typed::<EndOfRun>(),
    ];
    let (reserved, named): (Vec<_>, Vec<_>) = rows()
        .into_iter()
        .map(|row| [row["Number"].clone(), row["Name"].clone(), row["Input"].clone(), row["Output"].clone()])
        .partition(|[_, name, ..]| name == "-");
    assert_eq!(named, typed);
    for row in reserved {
        assert_eq!(row[2..], ["-", "-"], "a reserved number has no types: {row:?}");
    }
}

#[test]
fn the_numbers_ascend_and_every_one_has_a_purpose_and_a_way_to_be_fired() {
    let rows = rows();
    assert!(rows.is_sorted_by(|a, b| a["Number"] < b["Number"]));
    for row in rows {
        assert!(row["Number"].len() == 5 && !row["Purpose"].is_empty() && !row["When"].is_empty(), "{row:?}");
        assert!(["broadcast", "by name"].contains(&row["Fired"].as_str()), "{row:?}");
        assert!(["framework", "host application"].contains(&row["Fired by"].as_str()), "{row:?}");
    }
}

#[test]
fn a_number_outside_the_table_is_public() {
    assert_eq!(access_level("21001".parse().unwrap()).0, 0);
    assert_eq!(access_level("07320".parse().unwrap()).0, 100);
}
