//! The part of the form of a webhook that says how it is delivered to.

use std::collections::BTreeMap;

use switchboard::WebhookDraft;
use switchboard::config::{Config, HumanDuration};
use switchboard::store::{Envelope, Order, WebhookOptions};

use super::super::field::{Choice, Field, Kind};
use crate::delivery_options;

/// Begins the names of these fields.
pub(super) const OPTION: &str = "opt.";

/// What is wrong with a field of a webhook, by its name.
pub(super) type Problem = (String, String);

const ORDERS: [(Order, &str, &str); 3] = [
    (Order::None, "none", "none: a delivery that fails is overtaken"),
    (Order::Webhook, "webhook", "all, one after the other, as they were announced"),
    (Order::Subject, "subject", "those about the same subject, such as a property"),
];
const ENVELOPES: [(Envelope, &str, &str); 2] = [
    (Envelope::Reference, "reference", r#"{"data":{…,"task":"booking_added"}}"#),
    (Envelope::Standard, "standard", r#"{"type":"booking.added","timestamp":"…","data":{…}}"#),
];

/// Names of the fields, and what they are called.
const TITLES: [(&str, &str); 19] = [
    ("immediate", "Deliver at once, in the time of whoever announces, where the method can"),
    ("then_queue", "Deliver in the background what could not be delivered at once"),
    ("timeout", "Longest attempt in the background"),
    ("immediate_timeout", "Longest delivery at once"),
    ("dns_timeout", "Longest lookup of the receiver's name"),
    ("connect_timeout", "Longest wait for the connection"),
    ("tls_timeout", "Longest TLS handshake"),
    ("first_byte_timeout", "Longest wait for the head of the answer"),
    ("schedule", "Waits before each attempt"),
    ("cap", "Most deliveries at a time"),
    ("rate", "How often one may start"),
    ("order", "Which deliveries wait for one another"),
    ("stop_on", "Statuses after which it is not tried again"),
    ("envelope", "Body"),
    ("headers", "Headers"),
    ("ca_pem", "Certificate authorities, PEM"),
    ("identity_pem", "Client certificate and its private key, PEM"),
    ("remove_identity", "Take the stored client certificate away"),
    ("handshake", "Ask the receiver for its consent, as CloudEvents describes, before the webhook is saved"),
];

/// Returns what a field is called.
pub(super) fn title(name: &str) -> &'static str {
    TITLES.iter().find(|(other, _)| *other == name).map_or("", |(_, title)| title)
}

/// Returns what of a draft is other than usual, with its title.
pub(super) fn unusual(draft: &WebhookDraft, has_identity: bool) -> Vec<(&'static str, String)> {
    let (texts, usual) = (texts(draft), texts(&WebhookDraft::default()));
    let mut unusual = Vec::new();
    for (name, _) in TITLES {
        let Some(text) = texts.get(name).filter(|text| usual.get(name) != Some(text)) else { continue };
        let shown = match (name, text.as_str()) {
            ("immediate" | "then_queue" | "handshake", "1") => "yes".into(),
            ("immediate" | "then_queue" | "handshake", _) => "no".into(),
            ("headers", names) => names.replace(":\n", " "),
            ("ca_pem", _) => "of its own".into(),
            (_, text) => text.to_owned(),
        };
        unusual.push((title(name), shown));
    }
    if has_identity {
        unusual.push(("Client certificate", "stored".into()));
    }
    unusual
}

/// Writes the options of a draft as the form has them. Of secrets only that there are some.
pub(super) fn texts(draft: &WebhookDraft) -> BTreeMap<String, String> {
    let options = &draft.options;
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let time = |time: Option<std::time::Duration>| time.map(|time| HumanDuration(time).to_string()).unwrap_or_default();
    let order = ORDERS.iter().find(|(order, ..)| *order == options.order).map_or("", |(_, word, _)| word);
    let envelope =
        ENVELOPES.iter().find(|(envelope, ..)| *envelope == options.envelope).map_or("", |(_, word, _)| word);
    let statuses: Vec<_> = options.stop_on.iter().map(u16::to_string).collect();
    let headers: String = draft.headers.iter().map(|(name, _)| format!("{name}:\n")).collect();
    [
        ("immediate", flag(options.immediate)),
        ("then_queue", flag(options.then_queue)),
        ("timeout", time(options.timeout)),
        ("immediate_timeout", time(options.immediate_timeout)),
        ("dns_timeout", time(options.dns_timeout)),
        ("connect_timeout", time(options.connect_timeout)),
        ("tls_timeout", time(options.tls_timeout)),
        ("first_byte_timeout", time(options.first_byte_timeout)),
        ("schedule", options.schedule.as_deref().map(delivery_options::durations_text).unwrap_or_default()),
        ("cap", options.cap.map(|cap| cap.to_string()).unwrap_or_default()),
        ("rate", options.rate.as_ref().map(delivery_options::rate_text).unwrap_or_default()),
        ("order", order.to_owned()),
        ("stop_on", statuses.join(", ")),
        ("envelope", envelope.to_owned()),
        ("handshake", flag(options.handshake)),
        ("headers", headers),
        ("ca_pem", options.ca_pem.clone().unwrap_or_default()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// Gives a draft what was typed, and returns what of it cannot be read. What is not in the form stays as it is.
pub(super) fn read(typed: &BTreeMap<String, String>, draft: &mut WebhookDraft) -> Vec<Problem> {
    let mut reading = Reading { typed, problems: Vec::new() };
    let WebhookOptions {
        immediate,
        then_queue,
        timeout,
        immediate_timeout,
        dns_timeout,
        connect_timeout,
        tls_timeout,
        first_byte_timeout,
        schedule,
        cap,
        rate,
        order,
        stop_on,
        ca_pem,
        handshake,
        envelope,
    } = &mut draft.options;
    for (name, flag) in [("immediate", immediate), ("then_queue", then_queue), ("handshake", handshake)] {
        *flag = typed.get(name).map_or(*flag, |text| text == "1");
    }
    for (name, time) in [
        ("timeout", timeout),
        ("immediate_timeout", immediate_timeout),
        ("dns_timeout", dns_timeout),
        ("connect_timeout", connect_timeout),
        ("tls_timeout", tls_timeout),
        ("first_byte_timeout", first_byte_timeout),
    ] {
        reading.optional(name, time, duration);
    }
    reading.optional("schedule", schedule, |text| text.split(',').map(|part| duration(part.trim())).collect());
    reading.optional("cap", cap, |text| delivery_options::cap(text).map_err(|why| format!("`{text}` {why}")));
    reading.optional("rate", rate, |text| delivery_options::rate(text).map_err(|why| format!("`{text}` {why}")));
    let mut statuses = None;
    reading.optional("stop_on", &mut statuses, |text| {
        delivery_options::statuses(text).map_err(|why| format!("`{text}` {why}"))
    });
    if typed.contains_key("stop_on") {
        *stop_on = statuses.unwrap_or_default();
    }
    reading.optional("ca_pem", ca_pem, |text| Ok(text.to_owned()));
    reading.choice("order", order, &ORDERS);
    reading.choice("envelope", envelope, &ENVELOPES);
    let mut headers = None;
    reading.optional("headers", &mut headers, read_headers);
    if typed.contains_key("headers") {
        draft.headers = headers.unwrap_or_default();
    }
    draft.identity_pem = match typed.get("identity_pem").filter(|pem| !pem.trim().is_empty()) {
        Some(pem) => Some(pem.clone()),
        None if typed.get("remove_identity").is_some_and(|text| text == "1") => Some(String::new()),
        None => None,
    };
    reading.problems
}

/// Reads header lines. A name without a value keeps the value that is stored.
fn read_headers(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let header = |line: &str| {
        // Not the line, which may hold a secret.
        let (name, value) = line.split_once(':').ok_or("a line has no `:`: write each as `Name: value`")?;
        Ok((name.trim().to_owned(), Some(value.trim().to_owned()).filter(|value| !value.is_empty())))
    };
    lines.map(header).collect()
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<HumanDuration>().map(|duration| duration.0).map_err(|error| error.to_string())
}

struct Reading<'a> {
    typed: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// Reads a field that may be left empty.
    fn optional<V>(&mut self, name: &str, into: &mut Option<V>, read: impl Fn(&str) -> Result<V, String>) {
        let Some(text) = self.typed.get(name).map(|text| text.trim()) else { return };
        match Some(text).filter(|text| !text.is_empty()).map(read).transpose() {
            Ok(value) => *into = value,
            Err(problem) => self.problems.push((name.to_owned(), problem)),
        }
    }

    fn choice<V: Copy>(&mut self, name: &str, into: &mut V, choices: &[(V, &str, &str)]) {
        let Some(text) = self.typed.get(name) else { return };
        match choices.iter().find(|(_, word, _)| word == text) {
            Some((value, ..)) => *into = *value,
            None => self.problems.push((name.to_owned(), format!("`{text}` is no choice"))),
        }
    }
}

/// The fields, filled with what was typed.
pub(super) struct Fields {
    /// How and when it is delivered.
    pub(super) delivery: Vec<Field>,
    /// What goes with each request.
    pub(super) request: Vec<Field>,
    /// Whether anything is other than usual, or wrong.
    pub(super) open: bool,
}

impl Fields {
    pub(super) fn new(
        typed: &BTreeMap<String, String>,
        has_identity: bool,
        config: &Config,
        wrong: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let (deferred, egress) = (&config.deferred, &config.egress);
        let line = Kind::Line("text");
        let usual = |usual: String| format!("Left empty, as the host is set: {usual}.");
        let time = |bounds: &str, default| format!("{bounds}. {}", usual(HumanDuration(default).to_string()));
        let field = |name: &str, kind, help: String| Field {
            value: typed.get(name).cloned().unwrap_or_default(),
            wrong: wrong(name),
            ..Field::new(&format!("{OPTION}{name}"), kind, title(name), help)
        };
        let choice = |field: Field, choices: Vec<(&str, &str)>| Field {
            options: choices
                .into_iter()
                .map(|(value, title)| Choice { value: value.to_owned(), title: title.to_owned() })
                .collect(),
            ..field
        };
        let order = field("order", Kind::Choice, String::new());
        let envelope = field("envelope", Kind::Choice, String::new());
        let delivery = vec![
            field("immediate", Kind::Boolean, String::new()),
            field("then_queue", Kind::Boolean, String::new()),
            field("timeout", line, time("1s to 60s", deferred.timeout)),
            field("immediate_timeout", line, time("1s to 10s", deferred.immediate_timeout)),
            field("dns_timeout", line, time("1s to 60s", egress.dns_timeout)),
            field("connect_timeout", line, time("1s to 60s", egress.connect_timeout)),
            field("tls_timeout", line, time("1s to 60s", egress.tls_timeout)),
            field("first_byte_timeout", line, time("1s to 60s", egress.first_byte_timeout)),
            field(
                "schedule",
                line,
                format!("With commas between them. {}", usual(delivery_options::durations_text(&deferred.schedule))),
            ),
            field("cap", Kind::Line("number"), usual(deferred.per_webhook.to_string())),
            field("rate", line, "Such as 10/1m. Left empty, as often as there is something to deliver.".into()),
            choice(order, ORDERS.iter().map(|(_, word, title)| (*word, *title)).collect()),
            field("stop_on", line, "Such as 400, 422.".into()),
        ];
        let mut request = vec![
            choice(envelope, ENVELOPES.iter().map(|(_, word, title)| (*word, *title)).collect()),
            field("headers", Kind::Area, "One a line, Name: value. A name without a value keeps the value that is stored; a line that is taken away is not sent any more.".into()),
            field("ca_pem", Kind::Area, "Trusted in place of the machine's. Left empty, the machine's.".into()),
            Field { kept: has_identity, value: String::new(), ..field("identity_pem", Kind::Area, String::new()) },
            field("handshake", Kind::Boolean, String::new()),
        ];
        if has_identity {
            let remove = field("remove_identity", Kind::Boolean, String::new());
            request.insert(4, remove);
        }
        let usual = texts(&WebhookDraft::default());
        let is_other = |(name, text): (&String, &String)| usual.get(name).is_some_and(|usual| usual != text.trim());
        let open = has_identity
            || typed.iter().any(is_other)
            || delivery.iter().chain(&request).any(|field| field.wrong.is_some());
        Self { delivery, request, open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str, text: &str) -> Result<WebhookDraft, Vec<Problem>> {
        let mut draft = WebhookDraft { headers: vec![("X-Old".into(), None)], ..WebhookDraft::default() };
        let problems = read(&BTreeMap::from([(name.to_owned(), text.to_owned())]), &mut draft);
        if problems.is_empty() { Ok(draft) } else { Err(problems) }
    }

    #[test]
    fn what_the_form_shows_is_read_as_the_same_options() {
        let mut draft = WebhookDraft::default();
        let typed = [
            ("immediate", "1"),
            ("then_queue", "0"),
            ("timeout", "90s"),
            ("immediate_timeout", "2s"),
            ("dns_timeout", "3s"),
            ("connect_timeout", "4s"),
            ("tls_timeout", "5s"),
            ("first_byte_timeout", "6s"),
            ("schedule", "0s, 5s,2h"),
            ("cap", "3"),
            ("rate", "10/1m"),
            ("order", "webhook"),
            ("stop_on", "400, 422"),
            ("envelope", "standard"),
            ("ca_pem", "PEM"),
            ("handshake", "1"),
        ];
        let typed = typed.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(read(&typed, &mut draft), []);
        let mut again = WebhookDraft::default();
        assert_eq!(read(&texts(&draft), &mut again), []);
        assert_eq!(again.options, draft.options);
        // Every option has been changed, so that none is left out above.
        let usual = texts(&WebhookDraft::default());
        let as_usual = texts(&again).into_iter().filter(|(name, text)| usual[name] == *text).map(|(name, _)| name);
        assert_eq!(as_usual.collect::<Vec<_>>(), ["headers"]);
        assert_eq!(read(&texts(&WebhookDraft::default()), &mut again), []);
        assert_eq!(again.options, WebhookOptions::default());
    }

    #[test]
    fn headers_without_a_value_keep_it_and_what_is_not_sent_stays() {
        let headers = read_one("headers", "X-Old:\n\n X-New: a:b \n").unwrap().headers;
        assert_eq!(headers, [("X-Old".to_owned(), None), ("X-New".to_owned(), Some("a:b".to_owned()))]);
        assert_eq!(read_one("cap", "1").unwrap().headers.len(), 1);
        assert_eq!(read_one("headers", "").unwrap().headers, []);
        assert_eq!(read_one("headers", "").unwrap().identity_pem, None);
        assert_eq!(read_one("remove_identity", "1").unwrap().identity_pem.as_deref(), Some(""));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_field() {
        for (name, text) in [
            ("timeout", "soon"),
            ("tls_timeout", "5"),
            ("schedule", "5s,x"),
            ("cap", "0"),
            ("rate", "10"),
            ("order", "random"),
            ("stop_on", "4xx"),
            ("headers", "secret"),
        ] {
            let problems = read_one(name, text).unwrap_err();
            assert_eq!((problems.len(), problems[0].0.as_str()), (1, name));
            assert!(!problems[0].1.contains("secret"));
        }
    }
}
