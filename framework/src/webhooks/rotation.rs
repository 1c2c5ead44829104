//! New secrets in the form of Standard Webhooks, while receivers still have the former ones.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use switchboard_plugin_api::AuthMethod;

use crate::store::Timestamp;

/// Length of a new secret, in bytes.
const SECRET_BYTES: usize = 32;

/// Most former secrets that go on: with the new one there are at most five.
const MAX_FORMER: usize = 4;

/// Longest time that a former secret goes on.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a rotation changes.
pub(super) struct Rotated {
    /// The settings that change.
    pub(super) settings: BTreeMap<String, String>,
    /// What the receiver has to be told: the secret, or the public half of a pair.
    pub(super) told: String,
}

/// Makes a new value for the first secret of a form that rotates; `None` when there is none, or no random bytes.
pub(super) fn rotate(
    form: &AuthMethod,
    settings: &BTreeMap<String, String>,
    now: Timestamp,
    keep: Duration,
) -> Option<Rotated> {
    let (field, rotation) = form.fields.iter().find_map(|field| Some((field, field.rotation.as_ref()?)))?;
    let value = |key: &str| settings.get(key).map_or("", String::as_str);
    let current = value(&field.key).trim();
    let (secret, told) = new_secret(current.starts_with("whsk_"))?;
    let old: Vec<&str> = value(&rotation.old).split_whitespace().collect();
    let mut until: Vec<&str> = value(&rotation.until).split_whitespace().collect();
    if let [all] = *until.as_slice() {
        until.resize(old.len(), all);
    }
    let mut former: Vec<(&str, String)> = Vec::new();
    if !current.is_empty() && !keep.is_zero() {
        let keep = i64::try_from(keep.min(LONGEST).as_millis()).unwrap_or(i64::MAX);
        former.push((current, Timestamp(now.0.saturating_add(keep)).to_string()));
    }
    let holds = |until: &str| until.parse::<Timestamp>().is_ok_and(|until| until > now);
    former.extend(old.into_iter().zip(until).filter(|(_, until)| holds(until)).map(|(key, until)| (key, until.into())));
    former.truncate(MAX_FORMER);
    let (old, until): (Vec<&str>, Vec<String>) = former.into_iter().unzip();
    let settings =
        [(field.key.clone(), secret), (rotation.old.clone(), old.join(" ")), (rotation.until.clone(), until.join(" "))];
    Some(Rotated { settings: settings.into(), told })
}

/// Returns a new secret and what of it the receiver gets.
fn new_secret(pair: bool) -> Option<(String, String)> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    if !pair {
        let secret = format!("whsec_{}", STANDARD.encode(bytes));
        return Some((secret.clone(), secret));
    }
    let public = Ed25519KeyPair::from_seed_unchecked(&bytes).ok()?.public_key().as_ref().to_owned();
    let told = format!("whpk_{}", STANDARD.encode(&public));
    Some((format!("whsk_{}", STANDARD.encode([&bytes[..], &public].concat())), told))
}

#[cfg(test)]
mod tests {
    use switchboard_plugin_api::{FieldFormat, FormField};

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn form() -> AuthMethod {
        AuthMethod::new("Signed").field(FormField::new("s", FieldFormat::Password, "S").rotates("old", "until"))
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_former_secret_goes_on_for_its_time_and_those_that_are_over_go() {
        let first = rotate(&form(), &settings(&[("s", "whsec_a")]), NOW, DAY).unwrap();
        assert!(first.settings["s"].starts_with("whsec_") && first.told == first.settings["s"]);
        assert_eq!(STANDARD.decode(&first.told[6..]).unwrap().len(), SECRET_BYTES);
        assert_eq!(first.settings["old"], "whsec_a");
        assert_eq!(first.settings["until"].parse::<Timestamp>().unwrap(), Timestamp(NOW.0 + 86_400_000));
        let second = rotate(&form(), &first.settings, Timestamp(NOW.0 + 1), DAY * 30).unwrap();
        assert_eq!(second.settings["old"], format!("{} whsec_a", first.told));
        let until: Vec<_> = second.settings["until"].split(' ').map(|at| at.parse::<Timestamp>().unwrap().0).collect();
        assert_eq!(until, [NOW.0 + 1 + 7 * 86_400_000, NOW.0 + 86_400_000]);
        let later = rotate(&form(), &second.settings, Timestamp(NOW.0 + 2 * 86_400_000), Duration::ZERO).unwrap();
        assert_eq!(later.settings["old"], first.told);
        let mut many = second.settings;
        for _ in 0..9 {
            many = rotate(&form(), &many, NOW, DAY).unwrap().settings;
        }
        assert_eq!(many["old"].split(' ').count(), MAX_FORMER);
        assert_eq!(many["until"].split(' ').count(), MAX_FORMER);
    }

    #[test]
    fn of_a_pair_the_receiver_is_told_the_public_half() {
        let rotated = rotate(&form(), &settings(&[("s", "whsk_x")]), NOW, DAY).unwrap();
        let pair = STANDARD.decode(&rotated.settings["s"]["whsk_".len()..]).unwrap();
        let public = STANDARD.decode(&rotated.told["whpk_".len()..]).unwrap();
        assert_eq!((pair.len(), &pair[32..]), (64, &public[..]));
    }

    #[test]
    fn a_method_without_such_a_secret_has_nothing_to_rotate() {
        assert!(rotate(&AuthMethod::new("None"), &settings(&[]), NOW, DAY).is_none());
    }
}
