//! The API against thousands of calls that are made from its own document, good and bad ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use switchboard_tests::{Receiver, is_required, say_skipped};

use super::{add_webhook, served};

/// Environment variable under which schemathesis must not be missing.
const REQUIRED: &str = "SWITCHBOARD_TEST_SCHEMATHESIS_REQUIRED";
const VERSION: &str = "4.32.5";
/// How long calls are made.
const SECONDS: &str = "40";

/// Returns the program, which is installed below `target` the first time.
fn schemathesis() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schemathesis-{VERSION}"));
    let program = folder.join("bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    let quietly = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let installed = quietly(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && quietly(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--retries", "1", "--timeout", "10"])
                .arg(format!("schemathesis=={VERSION}")),
        );
    if !installed {
        let _ = fs::remove_dir_all(&folder);
        return None;
    }
    Some(program)
}

#[test]
fn calls_made_from_the_document_find_no_failure_and_nothing_that_it_does_not_say() {
    let Some(program) = schemathesis() else {
        assert!(!is_required(REQUIRED), "{REQUIRED} is set, and schemathesis cannot be installed");
        return say_skipped(
            "the API is not fuzzed: Python, or the network to install schemathesis from PyPI, is missing",
        );
    };
    let receiver = Receiver::friendly();
    let (_site, serving, client) = served(&["webhook_none", "hello"]);
    add_webhook(&client, 0, &receiver.url("/hook"));
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .current_dir(folder.path())
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", serving.address))
        .args(["--header", &format!("Authorization: Bearer {}", client.token())])
        .args(["--max-time", SECONDS, "--workers", "1", "--seed", "7320", "--generation-database", "none"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_headers_conformance,response_schema_conformance,negative_data_rejection"])
        .args(["--checks", "unsupported_method,missing_required_header,ignored_auth"])
        // It would be the end of the token with which the calls are made.
        .args(["--exclude-operation-id", "revokeToken"])
        .args(["--suppress-health-check", "all", "--warnings", "off", "--no-color"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("generated"), "{said}");
}
