//! Every command of the command line: that it is there, how it ends, that it prints JSON, and what of it is in the audit log.

use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;

use switchboard_tests::{Output, Receiver, Site, library, wait_until};

use crate::audit::{Audit, SECRET};

/// Commands that print no data, or go on until they are stopped; their own tests look at them.
const OTHERS: &[&str] = &["serve", "receive", "demo", "completions", "plugin dev", "log follow"];

/// Commands in an order in which each can be given, how they end, and the action that the audit log names then; none for
/// those that change nothing. `{x}` stands for the `id` that the command `x` has printed last.
const ROWS: &[(&str, i32, &str)] = &[
    ("config check", 0, ""),
    ("config show --origin", 0, ""),
    ("config set log.level debug", 0, "config.set"),
    ("config set log.mod x", 2, ""),
    ("config unset log.level", 0, "config.unset"),
    ("webhook add --owner 0 --url RECEIVER --method signed --set signed_secret=SECRET", 0, "webhook.add"),
    ("webhook add --owner 0 --url gopher:// --method signed", 2, ""),
    ("webhook edit {webhook add} --name Mirror", 0, "webhook.change"),
    ("webhook list", 0, ""),
    ("webhook show {webhook add}", 0, ""),
    ("webhook show 4711", 4, ""),
    ("webhook disable {webhook add}", 0, "webhook.disable"),
    ("webhook enable {webhook add}", 0, "webhook.enable"),
    ("webhook rotate {webhook add}", 0, "webhook.rotate"),
    ("webhook reveal {webhook add} signed_secret", 0, "webhook.reveal"),
    ("webhook test {webhook add}", 0, "webhook.test"),
    ("webhook events", 0, ""),
    ("webhook methods", 0, ""),
    ("emit booking_added --owner 0 --wait", 0, ""),
    ("emit no/name --owner 0", 2, ""),
    ("trigger 06000 hello", 0, "trigger.call"),
    ("trigger 06000 nobody", 4, ""),
    ("trigger x", 2, ""),
    ("triggers", 0, ""),
    ("delivery list", 0, ""),
    ("delivery show 1", 0, ""),
    ("delivery show 4711", 4, ""),
    ("delivery preview 1", 0, ""),
    ("delivery curl 1", 0, ""),
    ("delivery replay 1 --wait", 0, "delivery.replay"),
    ("delivery recover {webhook add} --since 1h", 0, ""),
    ("delivery recover {webhook add} --since 1h --yes", 0, "delivery.recover"),
    ("delivery recover 4711 --since 1h", 4, ""),
    ("task list", 0, ""),
    ("task list --state odd", 2, ""),
    ("task show {emit}", 0, ""),
    ("task show 4711", 4, ""),
    ("task replay {emit}", 0, "task.replay"),
    ("task retry {emit}", 0, "task.retry"),
    ("task defer 06000 hello --after 1h", 0, ""),
    ("task cancel {task defer}", 0, "task.cancel"),
    ("task cancel {task defer}", 1, ""),
    ("task bulk cancel --number 06000 --state waiting", 0, ""),
    ("task bulk cancel --number 06000 --state waiting --per-second 1 --yes", 0, "bulk.cancel"),
    ("task bulk pause {task bulk cancel}", 0, "bulk.pause"),
    ("task bulk resume {task bulk cancel}", 0, "bulk.resume"),
    ("task bulk stop {task bulk cancel}", 0, "bulk.stop"),
    ("task bulk stop {task bulk cancel}", 4, ""),
    ("task bulk list", 0, ""),
    ("task bulk retry --webhook 4711 --yes", 0, "bulk.retry"),
    ("task bulk replay --webhook 4711 --yes", 0, "bulk.replay"),
    ("task bulk retry --number 99999999999 --yes", 2, ""),
    ("task key set k --cap 1", 0, "key.set"),
    ("task key list", 0, ""),
    ("task key clear k", 0, "key.clear"),
    ("schedule set s every\u{a0}15m 06000 hello", 0, "schedule.set"),
    ("schedule set s often 06000 hello", 2, ""),
    ("schedule list", 0, ""),
    ("schedule pause s", 0, "schedule.pause"),
    ("schedule resume s", 0, "schedule.resume"),
    ("schedule remove s", 0, "schedule.remove"),
    ("schedule remove s", 4, ""),
    ("plugin list", 0, ""),
    ("plugin show hello", 0, ""),
    ("plugin show nobody", 4, ""),
    ("plugin check RIVAL --level static", 0, ""),
    ("plugin check nowhere.so", 2, ""),
    ("plugin new made-here --dir FOLDER --api /nowhere", 2, ""),
    ("plugin install RIVAL", 0, "plugin.install"),
    ("plugin install RIVAL", 2, ""),
    ("plugin upgrade rival RIVAL", 0, "plugin.upgrade"),
    ("plugin rollback rival", 0, "plugin.rollback"),
    ("plugin disable rival", 0, "plugin.disable"),
    ("plugin enable rival", 0, "plugin.enable"),
    ("plugin resume rival", 0, "plugin.resume"),
    ("plugin set dependent limit=3", 0, "plugin.set"),
    ("plugin set dependent limit=many", 2, ""),
    ("plugin rescan", 0, "plugin.rescan"),
    ("plugin remove rival", 0, "plugin.remove"),
    ("plugin remove rival", 4, ""),
    ("key list", 0, ""),
    ("key rotate", 0, "keys.rotate"),
    ("key re-encrypt", 0, "keys.re-encrypt"),
    ("language list", 0, ""),
    ("language show hello de-DE", 0, ""),
    ("language override hello de-DE greeting Moin", 0, "text.override"),
    ("language override hello de-DE greeting {", 2, ""),
    ("language override hello de-DE greeting --remove", 0, "text.remove"),
    ("store check", 0, ""),
    ("store backup FOLDER/backup.db", 0, ""),
    ("store export FOLDER/export.jsonl", 0, ""),
    // There are records: it is for a folder that has none.
    ("store import FOLDER/export.jsonl", 1, ""),
    ("log list", 0, ""),
    ("log show Plugins", 0, ""),
    ("log show Nothing", 4, ""),
    ("log search plugin", 0, ""),
    ("log download LOG FOLDER/copy.log", 0, ""),
    ("log download LOG FOLDER/copy.log", 1, ""),
    ("log download ../../etc/passwd FOLDER/other.log", 4, ""),
    ("user add ada --role operator", 0, "user.add"),
    ("user add ada --role operator", 2, ""),
    ("user list", 0, ""),
    ("user passwd ada", 0, "user.password"),
    ("user role ada --role read-only", 0, "user.role"),
    ("user remove ada", 0, "user.remove"),
    ("user remove ada", 4, ""),
    ("token create ci --role operator", 0, "token.create"),
    ("token list", 0, ""),
    ("token revoke {token create}", 0, "token.revoke"),
    ("token revoke {token create}", 4, ""),
    ("webhook remove {webhook add}", 0, "webhook.remove"),
    ("webhook remove {webhook add}", 4, ""),
    ("audit", 0, ""),
    ("doctor", 0, ""),
    ("doctor --bundle FOLDER/bundle.json", 0, ""),
    ("doctor --bundle FOLDER/bundle.json", 1, ""),
    ("man FOLDER/man", 0, ""),
];

/// Returns all commands that have none below them. Each of them is asked once for all tests.
fn all_leaves(site: &Site) -> &'static [Vec<String>] {
    static LEAVES: OnceLock<Vec<Vec<String>>> = OnceLock::new();
    LEAVES.get_or_init(|| leaves(site, &[]))
}

/// Returns the commands below one that have none below them.
fn leaves(site: &Site, command: &[String]) -> Vec<Vec<String>> {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let help = site.run(&arguments).ok().stdout;
    assert!(help.contains("--json"), "`{}` knows no --json:\n{help}", command.join(" "));
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What is said about a command goes on in lines that are indented further.
    let names = below.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<String> = names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    if names.is_empty() {
        return vec![command.to_vec()];
    }
    let below = names.into_iter().filter(|name| name != "help");
    below.flat_map(|name| leaves(site, &[command, &[name]].concat())).collect()
}

/// Returns the words of a row that name the command.
fn name_of(words: &[String], leaves: &[Vec<String>]) -> String {
    let leaf = leaves.iter().find(|leaf| words.starts_with(leaf));
    leaf.unwrap_or_else(|| panic!("there is no command `{}`", words.join(" "))).join(" ")
}

/// Checks that a failure is one sentence that names what to do or what is wrong, and prints nothing else.
#[track_caller]
fn check_failure(words: &str, output: &Output) {
    let said = output.stderr.trim_end();
    // A command line that cannot be read is explained by the library in several lines.
    let is_ours = said.starts_with("error: ") && said.lines().count() == 1;
    assert!(is_ours || output.stderr.contains("For more information, try '--help'"), "{words}: {output:?}");
    assert_eq!(output.stdout, "", "{words}: {output:?}");
}

#[test]
fn every_command_ends_as_it_should_prints_json_and_is_audited_when_it_changes_something() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["hello", "webhook_none", "webhook_signed", "fixture_dependent"]);
    site.settings(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n[plugins.dependent]\ntoken = \"x\"\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let _serving = site.serve();
    for _ in 0..20 {
        let _ = site.run(&["task", "defer", "06000", "hello", "--after", "1h"]).ok();
    }
    let leaves = all_leaves(&site);
    let log = site.json(&["log", "list", "--files"])[0]["id"].as_str().unwrap().to_owned();
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    let mut audit = Audit::of(&site);
    for (row, code, action) in ROWS {
        let mut text = row
            .replace("RECEIVER", &receiver.url("hook"))
            .replace("RIVAL", library("fixture_rival").to_str().unwrap())
            .replace("FOLDER", folder.path().to_str().unwrap())
            .replace("SECRET", SECRET)
            .replace("LOG", &log);
        given.iter().for_each(|(name, id)| text = text.replace(&format!("{{{name}}}"), id));
        let words: Vec<String> = text.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        if text.starts_with("delivery") {
            wait_until("the first attempt has ended", || !site.json(&["delivery", "show", "1"])["ended_at"].is_null());
        }
        let arguments: Vec<&str> = ["--json"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let output = site.run(&arguments);
        assert_eq!(output.code, *code, "{text}: {output:?}");
        if *code == 0 {
            let json = output.json();
            let id = if json["id"].is_null() { &json["tasks"][0]["id"] } else { &json["id"] };
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            given.insert(name_of(&words, leaves), id);
        } else {
            check_failure(&text, &output);
        }
        audit.check(&site, &text, "cli", action);
    }
    let without_row = leaves.iter().map(|leaf| leaf.join(" ")).filter(|leaf| !OTHERS.contains(&leaf.as_str()));
    let without_row: Vec<String> = without_row.filter(|leaf| !given.contains_key(leaf)).collect();
    // An import needs a folder without records: `audit` tests it.
    let expected = ["plugin new", "store import"];
    assert_eq!(without_row, expected, "each of the others has to succeed once in this test");
    assert!(fs::read_to_string(folder.path().join("copy.log")).unwrap().lines().count() > 0);
}

#[test]
fn every_command_has_its_page_of_the_manual_and_its_completions() {
    let site = Site::new();
    let man = site.path().join("man");
    let _ = site.run(&["man", man.to_str().unwrap()]).ok();
    let bash = site.run(&["completions", "bash"]).ok().stdout;
    for leaf in all_leaves(&site) {
        let page = fs::read_to_string(man.join(format!("switchboard-{}.1", leaf.join("-"))));
        assert!(page.is_ok_and(|page| page.contains(".SH SYNOPSIS")), "`{}` has no page", leaf.join(" "));
        // The generator makes a hyphen a part of its own.
        let function = format!("__subcmd__{}", leaf.join("-").replace('-', "__subcmd__"));
        assert!(bash.contains(&function), "`{}` has no completions", leaf.join(" "));
    }
}
