//! What a plugin gets from a `TestHost`, and what a test sees of it.

use std::time::Duration;

use serde_json::json;
use switchboard_plugin_api::prelude::*;
use switchboard_test_host::{HttpAnswer, TestHost, delivery};

const ECHO: TriggerNumber = TriggerNumber::new(21_500);

const ENGLISH: &str = "
hello = Hello { $name }
nights = { $n ->
    [one] one night
   *[other] { $n } nights
}
price = { NUMBER($n, minimumFractionDigits: 2) }
bye = Bye
";

struct Asks;

impl Trigger for Asks {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_501);
    type Input = String;
    type Output = u32;
}

struct Probe {
    greeting: Option<String>,
}

impl Exported for Probe {}

impl Plugin for Probe {
    const INFO: PluginInfo = PluginInfo::new("probe", "1.0.0").settings(&["greeting"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("probe", Self::languages)
        .add::<PublicTask>("text", Self::text)
        .add::<PublicTask>("host", Self::host)
        .add::<PublicTask>("fetch", Self::fetch)
        .add::<PublicTask>("ask", Self::ask)
        .add::<PublicTask>("log", Self::log)
        .add::<PublicTask>("panic", Self::panic)
        .add_async::<DeferredDelivery>("plain", Self::deliver)
        .add_async::<PublicTask>("sleeps", Self::sleeps)
        .add::<PublicTask>("sleeps_too", Self::sleeps_too)
        .add_async::<DeferredDelivery>("forever", Self::forever)
        .add_raw(ECHO, "echo", |_: &Self, _: &Context, input: &[u8]| Ok(input.to_vec()));

    fn new(host: &Host) -> Result<Self, PluginError> {
        log::info!(target: "Plugins", "made");
        match host.setting("greeting") {
            Some(greeting) if greeting == "none" => Err(PluginError::permanent("the greeting cannot be `none`")),
            greeting => Ok(Self { greeting }),
        }
    }

    fn shutdown(&self) {
        log::info!(target: "Plugins", "ended");
    }
}

impl Probe {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", ENGLISH)
            .file("de-DE", "hello = Hallo { $name }\n?!")
            .file("de", "hello = Servus { $name }"))
    }

    fn text(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let key = arguments.text("key").unwrap_or("hello");
        Ok(TaskReply::text(cx.text_with(key, &[("name", "Ada".into()), ("n", 1.into())])))
    }

    fn host(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        let seen: Option<u32> = cx.showtime().get("seen")?;
        cx.showtime().set("seen", &(seen.unwrap_or_default() + 1))?;
        let run = cx.run();
        Ok(TaskReply::default().with_data(json!({
            "greeting": self.greeting, "setting": cx.setting("key"), "language": cx.language(), "owner": run.owner,
            "task": run.task, "time_left": cx.time_left().as_secs(), "cancelled": cx.is_cancelled(),
        })))
    }

    fn fetch(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        let response = cx.http().get("https://example.com/rate").header("Accept", "text/plain").send_blocking()?;
        Ok(TaskReply::text(format!("{} {:?}", response.text(), response.header("X-Id"))))
    }

    fn ask(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        let one = cx.trigger::<Asks>("one", &"how many".to_owned())?;
        let all = cx.broadcast::<Asks>(&"all".to_owned())?;
        Ok(TaskReply::text(format!("{one:?} {}", all.len())))
    }

    fn log(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        log::debug!(target: "Webhooks", who = arguments.text("who"); "seen");
        cx.log(log::Level::Warn, "Other", "plain");
        Ok(TaskReply::default())
    }

    fn panic(&self, _cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        panic!("boom")
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        cx.http().deliver(&delivery).send().await?.delivered()
    }

    /// Sleeps twice; the first error ends it.
    async fn sleeps(&self, cx: &Context<'_>, _: Arguments) -> Result<TaskReply, PluginError> {
        cx.sleep(Duration::from_secs(4)).await?;
        let left = cx.time_left();
        cx.sleep(Duration::from_micros(2_500_001)).await?;
        Ok(TaskReply::text(format!("{left:?}")))
    }

    fn sleeps_too(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        cx.sleep_blocking(Duration::from_secs(4)).map(|()| TaskReply::text("slept"))
    }

    async fn forever(&self, _cx: &Context<'_>, _: Delivery) -> Result<Delivered, PluginError> {
        std::future::pending().await
    }
}

fn text(host: &TestHost<Probe>, key: &str) -> String {
    host.call_json::<PublicTask>("text", &json!({ "key": key })).expect("the handler only returns a text").text
}

#[test]
fn each_text_falls_back_for_itself() {
    let host = TestHost::<Probe>::start();
    assert_eq!(text(&host, "hello"), "Hello Ada");
    assert_eq!(text(&host, "nights"), "one night");
    assert_eq!(text(&host, "price"), "1.00");
    let host = host.language("de-CH");
    assert_eq!(text(&host, "hello"), "Hallo Ada");
    assert_eq!(text(&host, "bye"), "Bye");
    assert_eq!(text(&host.language("de"), "hello"), "Servus Ada");
    let host = TestHost::<Probe>::start().language("no language at all");
    assert_eq!(text(&host, "hello"), "Hello Ada");
    assert_eq!(text(&host, "nothing"), "nothing");
    assert_eq!(host.missing_texts(), ["nothing"]);
    assert!(host.text_problems()[0].starts_with("de-DE, line 2: "), "{:?}", host.text_problems());
}

#[test]
fn the_plugin_sees_what_the_test_sets() {
    let host = TestHost::<Probe>::start_with(&[("greeting", "Hi")])
        .setting("key", "value")
        .showtime("seen", 4)
        .language("fr-FR")
        .owner(62)
        .task("save_booking")
        .time_left(Duration::from_secs(7))
        .cancelled(true);
    let reply = host.call::<PublicTask>("host", &Arguments::default()).unwrap();
    let expected = json!({
        "greeting": "Hi", "setting": "value", "language": "fr-FR", "owner": 62, "task": "save_booking", "time_left": 7,
        "cancelled": true,
    });
    assert_eq!(reply.data, expected);
    assert_eq!(host.showtime_value("seen"), Some(json!(5)));
    assert_eq!(host.showtime_value("other"), None);
}

#[test]
fn a_plugin_that_sleeps_keeps_no_test_waiting_and_sees_the_time_pass() {
    let host = TestHost::<Probe>::start().time_left(Duration::from_secs(10));
    let reply = host.call::<PublicTask>("sleeps", &Arguments::default()).unwrap();
    assert_eq!((reply.text.as_str(), host.slept()), ("6s", Duration::from_millis(6_501)));
    assert_eq!(host.call::<PublicTask>("sleeps_too", &Arguments::default()).unwrap().text, "slept");
    assert_eq!(host.slept(), Duration::from_secs(4), "each call has its own deadline");

    let host = host.time_left(Duration::from_secs(3));
    for name in ["sleeps", "sleeps_too"] {
        let error = host.call::<PublicTask>(name, &Arguments::default()).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Retryable, Some("timeout_total")));
        assert_eq!(error.to_string(), "the deadline of the call came before the wait of 4s was over");
        assert_eq!(host.slept(), Duration::from_secs(3));
    }
    let error = host.cancelled(true).call::<PublicTask>("sleeps_too", &Arguments::default()).unwrap_err();
    assert_eq!(error.code(), Some("interrupted"));
}

#[test]
fn a_plugin_that_refuses_to_start_says_why() {
    let error = TestHost::<Probe>::try_start_with(&[("greeting", "none")]).unwrap_err();
    assert_eq!(error.to_string(), "the greeting cannot be `none`");
}

#[test]
#[should_panic(expected = "the plugin `probe` does not start: the greeting cannot be `none`")]
fn a_plugin_that_refuses_to_start_fails_the_test() {
    let _ = TestHost::<Probe>::start_with(&[("greeting", "none")]);
}

#[test]
fn requests_are_answered_by_the_test_and_kept() {
    let mut answers = vec![HttpAnswer::status(503).header("Retry-After", "9"), HttpAnswer::status(204)];
    let host = TestHost::<Probe>::start().http(move |_| answers.pop().unwrap());
    let event = delivery("booking_added", "{\"n\":1}");
    assert_eq!(host.call_async::<DeferredDelivery>("plain", &event).unwrap().status, Some(204));
    let error = host.call::<DeferredDelivery>("plain", &event).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
    let requests = host.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].method.as_str(), requests[0].url.as_str()), ("POST", "https://receiver.example/events"));
    assert_eq!(requests[0].header("Webhook-Event"), Some("booking_added"));
    assert_eq!(requests[0].text(), "{\"n\":1}");

    let host = host.http(|request| {
        assert_eq!(request.header("accept"), Some("text/plain"));
        HttpAnswer::status(200).header("X-ID", "7").body("1.5")
    });
    assert_eq!(host.call::<PublicTask>("fetch", &Arguments::default()).unwrap().text, "1.5 Some(\"7\")");

    let host = host.http(|_| HttpAnswer::failed(PluginError::retryable("refused").with_code("connect")));
    assert_eq!(host.call::<PublicTask>("fetch", &Arguments::default()).unwrap_err().code(), Some("connect"));
}

#[test]
#[should_panic(expected = "the plugin sent GET https://example.com/rate and the test has no answer for it")]
fn a_request_without_an_answer_fails_the_test() {
    let _ = TestHost::<Probe>::start().call::<PublicTask>("fetch", &Arguments::default());
}

#[test]
#[should_panic(expected = "the script of `http` panicked: not this one")]
fn a_failed_assertion_in_a_script_fails_the_test() {
    let host = TestHost::<Probe>::start().http(|request| panic!("not {}", &request.method.replace("GET", "this one")));
    let _ = host.call::<PublicTask>("fetch", &Arguments::default());
}

#[test]
fn numbers_that_the_plugin_fires_are_answered_by_the_test() {
    let host = TestHost::<Probe>::start();
    assert_eq!(host.call::<PublicTask>("ask", &Arguments::default()).unwrap().text, "None 0");
    let host = host.on_trigger(21_501, |name, payload| match name {
        Some(name) => {
            assert_eq!(payload, b"\"how many\"");
            vec![(name.to_owned(), json!(3))]
        }
        None => vec![("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))],
    });
    assert_eq!(host.call::<PublicTask>("ask", &Arguments::default()).unwrap().text, "Some(3) 2");
}

#[test]
fn bytes_pass_as_they_are() {
    let host = TestHost::<Probe>::start();
    assert_eq!(host.call_raw(21_500, "echo", b"\xff\0").unwrap(), b"\xff\0");
    let error = host.call_raw(6_000, "text", b"[").unwrap_err();
    assert_eq!(error.code(), Some("bad_input"));
}

#[test]
#[should_panic(expected = "the plugin `probe` has no handler 07320 `basic`; it has: 00005 `probe`, 06000 `text`")]
fn an_unknown_handler_fails_the_test_and_names_those_there_are() {
    let _ = TestHost::<Probe>::start().call::<DeferredDelivery>("basic", &delivery("e", ""));
}

#[test]
#[should_panic(expected = "07320 `forever` waits for something that does not come")]
fn a_future_that_nobody_wakes_fails_the_test() {
    let _ = TestHost::<Probe>::start().call::<DeferredDelivery>("forever", &delivery("e", ""));
}

#[test]
fn a_panic_of_the_plugin_is_an_error() {
    let host = TestHost::<Probe>::start();
    let error = host.call::<PublicTask>("panic", &Arguments::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().ends_with(": boom"), "{error}");
    assert!(host.call::<PublicTask>("text", &Arguments::default()).is_ok());
}

#[test]
fn log_records_belong_to_the_host_that_made_the_call() {
    let hosts = ["ada", "bob"].map(|who| (who, TestHost::<Probe>::start()));
    std::thread::scope(|scope| {
        for (who, host) in &hosts {
            scope.spawn(move || {
                for _ in 0..50 {
                    host.call_json::<PublicTask>("log", &json!({ "who": who })).unwrap();
                }
            });
        }
    });
    for (who, host) in hosts {
        log::error!("not the plugin's");
        let logs = host.logs();
        assert_eq!(logs.len(), 101);
        assert_eq!((logs[0].channel.as_str(), logs[0].message.as_str()), ("Plugins", "made"));
        assert_eq!((logs[1].level, logs[1].channel.as_str()), (log::Level::Debug, "Webhooks"));
        assert_eq!(logs[1].fields, [("who".to_owned(), who.to_owned())]);
        assert_eq!((logs[2].level, logs[2].message.as_str()), (log::Level::Warn, "plain"));
        assert_eq!(host.shutdown().last().unwrap().message, "ended");
    }
}

struct Keeper;

impl Exported for Keeper {}

impl Plugin for Keeper {
    const INFO: PluginInfo = PluginInfo::new("keeper", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("keeper", Self::run);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Keeper {
    fn run(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let runs = cx.kept().get::<u32>("runs")?.unwrap_or(0) + 1;
        cx.kept().set("runs", &runs)?;
        cx.defer::<PublicTask>("keeper", &arguments, core::time::Duration::from_secs(60))?;
        cx.announce("kept", &serde_json::json!({ "runs": runs }))?;
        Ok(TaskReply::text(runs.to_string()))
    }
}

#[test]
fn what_a_plugin_keeps_puts_off_and_announces_is_recorded() {
    let host = TestHost::<Keeper>::start();
    for runs in ["1", "2"] {
        assert_eq!(host.call::<PublicTask>("keeper", &Arguments::default()).unwrap().text, runs);
    }
    assert_eq!(host.kept_value("runs"), Some(2.into()));
    assert_eq!(host.announced()[1], ("kept".to_owned(), serde_json::json!({ "runs": 2 })));
    let deferred = host.deferred();
    assert_eq!((deferred.len(), deferred[0].name.as_str(), deferred[0].delay.as_secs()), (2, "keeper", 60));
}
