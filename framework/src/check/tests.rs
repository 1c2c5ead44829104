use std::fs;

use super::*;

fn outcome<'a>(examination: &'a Examination, id: &str) -> &'a Outcome {
    examination.outcomes.iter().find(|outcome| outcome.check.id == id).unwrap()
}

#[test]
fn what_is_no_file_is_not_opened_and_every_other_check_says_why_it_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let examination = examine(folder.path());
    assert_eq!(outcome(&examination, "A1").status, Status::Fail);
    assert!(
        examination.outcomes.iter().skip(1).all(|outcome| outcome.status == Status::Skip && outcome.note.is_some())
    );
    assert!(examination.loadable.is_none());
}

#[test]
fn an_empty_file_and_one_that_is_no_library_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    fs::write(&path, "").unwrap();
    assert_eq!(outcome(&examine(&path), "A3").status, Status::Fail);
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let examination = examine(&path);
    assert_eq!(outcome(&examination, "A3").status, Status::Pass);
    assert_eq!(outcome(&examination, "A4").status, Status::Fail);
}

#[test]
fn an_outcome_is_as_bad_as_its_worst_finding() {
    let check = catalogue().next().unwrap();
    let findings = vec![Finding::new(Status::Fail, "a", "b"), Finding::new(Status::Warn, "c", "d")];
    assert_eq!(Outcome::new(check, findings, None).status, Status::Fail);
    assert_eq!(Outcome::new(check, Vec::new(), None).status, Status::Pass);
}
