//! A report for people, for programs and for build servers.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;
use switchboard::check::{Outcome, Status};

use super::{Done, Report};

fn word(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Skip => "skip",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
        Status::Timeout => "TIMEOUT",
        _ => "CRASH",
    }
}

/// The groups in the order in which they are checked, each with its outcomes.
fn groups(report: &Report) -> Vec<(&'static str, Vec<&Done>)> {
    let mut groups: Vec<(&'static str, Vec<&Done>)> = Vec::new();
    for done in &report.done {
        let name = done.outcome.check.group();
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, outcomes)) => outcomes.push(done),
            None => groups.push((name, vec![done])),
        }
    }
    groups
}

/// `2 warnings`, `1 failed`, … for what there is.
fn counts(report: &Report) -> String {
    let statuses = [
        (Status::Pass, "passed"),
        (Status::Warn, "with warnings"),
        (Status::Skip, "skipped"),
        (Status::Fail, "failed"),
        (Status::Timeout, "timed out"),
        (Status::Crash, "crashed"),
    ];
    let counts = statuses.into_iter().map(|(status, words)| (report.count(status), words));
    counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = match &report.examination.manifest {
        Some(manifest) => writeln!(text, "{} {}, {}", manifest.id, manifest.version, report.file.display()),
        None => writeln!(text, "{}", report.file.display()),
    };
    let _ = writeln!(text, "level {}, seed {}", level(report), report.seed);
    for (group, outcomes) in groups(report) {
        let _ = writeln!(text, "\n{group}");
        let alike = |outcome: &Outcome| outcomes.iter().filter(|other| other.outcome.note == outcome.note).count();
        let is_one_of_many = |outcome: &Outcome| outcome.status == Status::Skip && alike(outcome) > 1;
        let mut told = Vec::new();
        for Done { outcome, .. } in &outcomes {
            if is_one_of_many(outcome) {
                // What was left out for one reason is told in one line.
                if !told.contains(&&outcome.note) {
                    told.push(&outcome.note);
                    let why = outcome.note.as_deref().unwrap_or_default();
                    let ids = outcomes.iter().filter(|other| other.outcome.note == outcome.note);
                    let ids: Vec<_> = ids.map(|done| done.outcome.check.id).collect();
                    let _ = writeln!(text, "  {:7} {}: {}", word(Status::Skip), ids.join(", "), printable(why));
                }
                continue;
            }
            let note = outcome.note.as_ref().map_or_else(String::new, |note| format!(": {}", printable(note)));
            let _ = writeln!(text, "  {:7} {:4} {}{note}", word(outcome.status), outcome.check.id, outcome.check.title);
            for finding in &outcome.findings {
                let _ = writeln!(text, "               {}", printable(&finding.found));
                let _ = writeln!(text, "               -> {}", printable(&finding.advice));
            }
        }
    }
    let verdict = match (report.exit(), report.count(Status::Warn)) {
        (0, 0) => "passed",
        (0, _) => "passed, with warnings",
        (_, _) => "NOT passed",
    };
    let _ = write!(text, "\n{verdict}: {}", counts(report));
    if let Some(id) = first_bad(report) {
        let _ = write!(
            text,
            "\ncorrect it and look again: switchboard plugin check {} --only {id} --seed {}",
            report.file.display(),
            report.seed
        );
    }
    text
}

/// What a plugin says may not reach the terminal as it is.
fn printable(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

fn level(report: &Report) -> String {
    serde_json::to_value(report.level).ok().and_then(|level| level.as_str().map(str::to_owned)).unwrap_or_default()
}

fn first_bad(report: &Report) -> Option<&'static str> {
    let bad = |outcome: &Outcome| outcome.status.is_bad() || (report.deny_warnings && outcome.status == Status::Warn);
    report.done.iter().find(|done| bad(&done.outcome)).map(|done| done.outcome.check.id)
}

pub(super) fn json(report: &Report) -> Result<String> {
    let checks = report.done.iter().map(|done| {
        let mut row = serde_json::to_value(&done.outcome)?;
        row["group"] = json!(done.outcome.check.group());
        row["took_ms"] = json!(u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX));
        Ok(row)
    });
    let checks = checks.collect::<Result<Vec<_>>>()?;
    let value = json!({
        "file": report.file,
        "manifest": report.examination.manifest,
        "level": report.level,
        "seed": report.seed,
        "passed": report.exit() == 0,
        "exit": report.exit(),
        "counts": {
            "pass": report.count(Status::Pass),
            "warn": report.count(Status::Warn),
            "skip": report.count(Status::Skip),
            "fail": report.count(Status::Fail),
            "timeout": report.count(Status::Timeout),
            "crash": report.count(Status::Crash),
        },
        "checks": checks,
    });
    Ok(crate::output::safe_json(&serde_json::to_string_pretty(&value)?))
}

pub(super) fn junit(report: &Report) -> String {
    let name = report.examination.manifest.as_ref().map_or("plugin", |manifest| manifest.id.as_str());
    let failures = report.count(Status::Fail) + if report.deny_warnings { report.count(Status::Warn) } else { 0 };
    let errors = report.count(Status::Crash) + report.count(Status::Timeout);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{}\">",
        escaped(name),
        report.done.len(),
        report.count(Status::Skip)
    );
    let _ = writeln!(
        text,
        "    <properties><property name=\"file\" value=\"{}\"/><property name=\"level\" value=\"{}\"/><property \
         name=\"seed\" value=\"{}\"/></properties>",
        escaped(&report.file.display().to_string()),
        level(report),
        report.seed
    );
    for Done { outcome, took } in &report.done {
        let _ = writeln!(
            text,
            "    <testcase classname=\"{}.{}\" name=\"{} {}\" time=\"{:.3}\">{}</testcase>",
            escaped(name),
            outcome.check.group().replace(' ', "_"),
            outcome.check.id,
            escaped(outcome.check.title),
            took.as_secs_f64(),
            junit_result(report, outcome)
        );
    }
    text + "  </testsuite>\n</testsuites>"
}

fn junit_result(report: &Report, outcome: &Outcome) -> String {
    let lines = outcome.findings.iter().map(|finding| format!("{} -> {}", finding.found, finding.advice));
    let body = escaped(&lines.collect::<Vec<_>>().join("\n"));
    let first = escaped(outcome.findings.first().map_or("", |finding| finding.found.as_str()));
    match outcome.status {
        Status::Pass => String::new(),
        Status::Skip => format!("<skipped message=\"{}\"/>", escaped(outcome.note.as_deref().unwrap_or_default())),
        Status::Warn if !report.deny_warnings => format!("<system-out>warning: {body}</system-out>"),
        Status::Warn | Status::Fail => format!("<failure message=\"{first}\">{body}</failure>"),
        Status::Timeout => format!("<error type=\"timeout\" message=\"{first}\">{body}</error>"),
        _ => format!("<error type=\"crash\" message=\"{first}\">{body}</error>"),
    }
}

/// Text for XML, which knows no control characters at all.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            one if one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            one => escaped.push(one),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_cannot_break_the_xml_or_the_terminal() {
        assert_eq!(escaped("<a b=\"c\">&\u{0}\u{1b}"), "&lt;a b=&quot;c&quot;&gt;&amp;  ");
        assert_eq!(printable("a\r\n\u{1b}[31mb"), "a   [31mb");
    }
}
