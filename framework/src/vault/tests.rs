use super::*;

fn vault(folder: &std::path::Path) -> Vault {
    let source = Source::File(folder.join("keys").join("secrets.keys"));
    let ring = source.add_key().unwrap();
    Vault::new(source, ring)
}

#[test]
fn what_is_sealed_is_opened_for_the_same_purpose_only() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(folder.path());
    let sealed = vault.seal("webhook", "gehéim".as_bytes()).unwrap();
    assert!(vault.is_current(&sealed) && !sealed.contains("geh"), "{sealed}");
    assert_eq!(vault.open("webhook", &sealed).unwrap(), "gehéim".as_bytes());
    assert!(matches!(vault.open("other", &sealed), Err(VaultError::Damaged)));
    assert_ne!(vault.seal("webhook", b"x").unwrap(), vault.seal("webhook", b"x").unwrap(), "a nonce of its own each");
}

#[test]
fn a_changed_text_is_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(folder.path());
    let sealed = vault.seal("p", b"secret").unwrap();
    let start = MARK.len() + vault.current().len() + 1;
    for at in start..sealed.len() {
        let mut bytes = sealed.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(vault.open("p", &changed).is_err(), "{at}");
    }
    for wrong in ["", "sealed1:", "sealed1:x", "sealed1:x:", "sealed2:x:AAAA", "secret", "sealed1:ä:ö"] {
        assert!(vault.open("p", wrong).is_err(), "{wrong}");
    }
    let short = format!("{MARK}{}:AAAA", vault.current());
    assert!(matches!(vault.open("p", &short), Err(VaultError::Damaged)));
}

#[test]
fn a_missing_key_is_named_and_one_that_comes_back_is_found() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (vault(folder.path()), vault(other.path()));
    let sealed = second.seal("p", b"secret").unwrap();
    let error = first.open("p", &sealed).unwrap_err().to_string();
    assert!(error.contains(&second.current()) && error.contains("secrets.keys"), "{error}");
    std::fs::copy(other.path().join("keys/secrets.keys"), folder.path().join("keys/secrets.keys")).unwrap();
    assert_eq!(first.open("p", &sealed).unwrap(), b"secret");
    assert!(first.open("p", &first.seal("p", b"old").unwrap()).is_ok(), "it keeps the key that it had");
}

#[test]
fn no_key_is_lost_when_several_are_added_and_removed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::File(folder.path().join("secrets.keys"));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..5 {
                    let unused = source.add_key().unwrap().first().to_owned();
                    drop(source.add_key().unwrap());
                    assert_eq!(source.retain(|id| id != unused).unwrap().first(), Some(&unused));
                }
            });
        }
    });
    assert_eq!(source.read().unwrap().unwrap().ids().len(), 20);
}

#[test]
fn a_file_of_keys_is_its_owners_alone_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys").join("secrets.keys");
    let source = Source::File(path.clone());
    assert!(source.read().unwrap().is_none());
    let old = source.add_key().unwrap().first().to_owned();
    let ring = source.add_key().unwrap();
    assert_eq!((ring.ids().len(), &ring.ids()[1]), (2, &old), "the new key comes first");
    assert_eq!(source.read().unwrap().unwrap().ids(), ring.ids());
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(source.read(), Err(KeyError::Open { .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    assert_eq!(source.retain(|id| id != old).unwrap(), [old]);
    for wrong in ["", "# nothing\n", "AAAA\n", "not base64"] {
        std::fs::write(&path, wrong).unwrap();
        assert!(matches!(source.read(), Err(KeyError::NoKey { .. })), "{wrong}");
    }
    let environment = |keys: &str| Source::Environment(keys.into()).read();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    assert_eq!(environment(&format!("{key}, {key}")).unwrap().unwrap().ids().len(), 1);
    assert!(environment("x").is_err());
    assert!(matches!(Source::Environment(key.into()).add_key(), Err(KeyError::Fixed)));
}
