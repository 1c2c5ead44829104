//! The examples of `docs/api.md`, run with curl in the order in which they stand.

use std::fs;
use std::path::Path;
use std::process::Command;

use switchboard_tests::{Receiver, say_skipped};

use super::served;

#[test]
fn the_examples_of_the_guide_work_as_they_stand() {
    if Command::new("curl").arg("--version").output().is_err() {
        return say_skipped("the examples of docs/api.md are not run: curl is missing");
    }
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/api.md")).unwrap();
    let mut blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).peekable();
    assert!(blocks.peek().is_some());
    let receiver = Receiver::friendly();
    let (_site, serving, client) = served(&["webhook_none", "hello"]);
    // One shell for all, so that a variable of one example is there in the next. Every call has to succeed.
    let script: String = blocks.map(|block| format!("{block}\n")).collect();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("SWITCHBOARD", format!("http://{}", serving.address))
        .env("TOKEN", client.token())
        .env("RECEIVER", receiver.url("/hook"))
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(receiver.wait_for(1)[0].json()["data"]["contract_uid"], 41, "{said}");
}
