use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("switchboard.toml"))
}

#[track_caller]
fn check_refused(text: &str, message: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), message);
}

#[test]
fn a_missing_and_an_empty_file_give_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(folder.path()).unwrap(), Config::default());
    std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
    assert_eq!(Config::load(folder.path()).unwrap(), Config::default());
}

#[test]
fn the_documented_defaults_written_out_are_the_defaults() {
    let text = r#"
[egress]
allow = []
http = true
connect_timeout = "5s"
response_limit_bytes = 65536

[deferred]
threads = 4
concurrency = 512
per_webhook = 4
per_host = 16
per_plugin = 16
schedule = ["0s", "5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
timeout = "15s"
immediate_timeout = "3s"
grace = "20s"

[log]
mode = "production"
rotate_bytes = 67108864
rotate_age = "1d"
keep = "30d"
keep_files = 100

[languages]
default = "en-GB"

[plugins]
suspend_after_panics = 5
"#;
    assert_eq!(parse(text).unwrap(), Config::default());
}

#[test]
fn every_setting_can_be_changed() {
    let config = parse(
        "[egress]\nallow = [\"127.0.0.0/8\", \"fd00::/8\"]\nhttp = false\n\
         [deferred]\nschedule = [\"1s\"]\ngrace = \"0s\"\n\
         [log]\nlevel = \"DEBUG\"\nmode = \"development\"\n\
         [languages]\ndefault = \"de-DE\"\n[plugins]\nsuspend_after_panics = 0\n",
    )
    .unwrap();
    assert_eq!(config.egress.allow.len(), 2);
    assert!(!config.egress.http);
    assert_eq!(config.deferred.schedule, [Duration::from_secs(1)]);
    assert_eq!(config.deferred.grace, Duration::ZERO);
    assert_eq!(config.log.effective_level(), LevelFilter::Debug);
    assert_eq!(config.languages.default, "de-DE");
    assert_eq!(config.plugins.suspend_after_panics, 0);
}

#[test]
fn production_never_logs_debug() {
    let config = parse("").unwrap();
    assert_eq!(config.log.effective_level(), LevelFilter::Info);
    let config = parse("log.mode = \"development\"").unwrap();
    assert_eq!(config.log.effective_level(), LevelFilter::Debug);
    let config = parse("log.level = \"trace\"").unwrap();
    assert_eq!(config.log.effective_level(), LevelFilter::Info);
    let config = parse("log.level = \"error\"").unwrap();
    assert_eq!(config.log.effective_level(), LevelFilter::Error);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
    check_refused(
        "# limits\n[deferred]\ntreads = 3\n",
        "`switchboard.toml` line 3: unknown key `deferred.treads`, did you mean `deferred.threads`?",
    );
    check_refused(
        "[defered]\nthreads = 3\n",
        "`switchboard.toml` line 1: unknown key `defered`, did you mean `deferred`?",
    );
    check_refused(
        "[egress]\nthreads = 3\n",
        "`switchboard.toml` line 2: unknown key `egress.threads`, did you mean `deferred.threads`?",
    );
    check_refused(
        "\nthreads = 3\n",
        "`switchboard.toml` line 2: unknown key `threads`, did you mean `deferred.threads`?",
    );
    check_refused("[deferred]\ncolour = 1\n", "`switchboard.toml` line 2: unknown key `deferred.colour`");
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_key() {
    check_refused(
        "[deferred]\n\ntimeout = \"15\"\n",
        "`switchboard.toml` line 3: `deferred.timeout` has a wrong value: `15` has no unit, \
         write for example `15s`",
    );
    check_refused(
        "[deferred]\nschedule = [\n\"0s\",\n\"5 minutes\"]\n",
        "`switchboard.toml` line 2: `deferred.schedule` has a wrong value: `5 minutes` has the \
         unknown unit ` minutes`, use one of `ms`, `s`, `m`, `h`, `d`",
    );
    check_refused(
        "[deferred]\nthreads = \"many\"\n",
        "`switchboard.toml` line 2: `deferred.threads` has a wrong value: invalid type: string \
         \"many\", expected usize",
    );
    check_refused(
        "egress = 3",
        "`switchboard.toml` line 1: `egress` has a wrong value: invalid type: integer `3`, \
         expected struct EgressConfig",
    );
    check_refused(
        "[log]\nlevel = \"loud\"",
        "`switchboard.toml` line 2: `log.level` has a wrong value: `loud` is not a level, use one \
         of `off`, `error`, `warn`, `info`, `debug`, `trace`",
    );
    check_refused(
        "[egress]\nallow = [\"10.0.0.1\", \"10.0.0.0/33\"]",
        "`switchboard.toml` line 2: `egress.allow` has a wrong value: `10.0.0.0/33` is not a \
         network, write for example `10.20.0.0/16`",
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    check_refused(
        "[deferred]\ngrace = \"1s\"\nthreads = 0\n",
        "`switchboard.toml` line 3: `deferred.threads` is 0, it must be 1 to 256",
    );
    check_refused(
        "[deferred]\ntimeout = \"2m\"",
        "`switchboard.toml` line 2: `deferred.timeout` is 2m, it must be 1s to 1m",
    );
    check_refused(
        "[deferred]\nschedule = []",
        "`switchboard.toml` line 2: `deferred.schedule` has a wrong number of entries, \
         it is 0, it must be 1 to 20",
    );
    check_refused(
        "[deferred]\nschedule = [\"4d\", \"4d\"]",
        "`switchboard.toml` line 2: `deferred.schedule` is longer than 7 days in all",
    );
    check_refused(
        "[languages]\ndefault = \"english please\"",
        "`switchboard.toml` line 2: `languages.default` is `english please`, which is not a \
         language code such as `en-GB`",
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line() {
    assert!(matches!(parse("[log]\nlevel = \n"), Err(ConfigError::Syntax { line: 2, .. })));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), b"\xff").unwrap();
    assert!(matches!(Config::load(folder.path()), Err(ConfigError::Read { .. })));
}

#[test]
fn plugins_have_settings_of_their_own() {
    let config = Config::parse("[plugins.hello]\ngreeting = \"Moin\"\n", Path::new("switchboard.toml")).unwrap();
    assert_eq!(config.plugin_setting("hello", "greeting").as_deref(), Some("Moin"));
    assert_eq!(config.plugin_setting("hello", "other"), None);
    assert_eq!(config.plugin_setting("other", "greeting"), None);
    check_refused(
        "[plugins.hello]\ngreeting = 3\n",
        "`switchboard.toml` line 2: `plugins.hello.greeting` has a wrong value: invalid type: integer `3`, expected a string",
    );
}

#[test]
fn what_holds_for_all_plugins_stands_beside_their_settings() {
    let config = parse("[plugins]\nsuspend_after_panics = 3\n[plugins.hello]\ngreeting = \"Moin\"\n").unwrap();
    assert_eq!(config.plugins.suspend_after_panics, 3);
    assert_eq!(config.plugin_setting("hello", "greeting").as_deref(), Some("Moin"));
    check_refused(
        "[plugins]\nsuspend_after_panics = -1\n",
        "`switchboard.toml` line 2: `plugins.suspend_after_panics` has a wrong value: invalid value: integer `-1`, \
         expected u32",
    );
    check_refused(
        "[plugins]\nsuspend_after_panic = 3\n",
        "`switchboard.toml` line 2: `plugins.suspend_after_panic` has a wrong value: invalid type: integer `3`, expected \
         a table of settings for a plugin of this id; the host's own key is `suspend_after_panics`",
    );
}
