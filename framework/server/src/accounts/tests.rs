use super::*;

fn accounts() -> (tempfile::TempDir, Accounts) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(folder.path()).unwrap();
    (folder, accounts)
}

fn ada(role: Role) -> NewUser {
    NewUser { name: "ada".into(), password: "correct horse battery".into(), role, owner: None }
}

#[test]
fn only_the_right_password_of_an_existing_user_is_taken() {
    let (_folder, accounts) = accounts();
    accounts.add_user(&ada(Role::Operator)).unwrap();
    let check = |name: &str, password: &str| accounts.check_password(name, password).unwrap().is_some();
    assert!(check("ada", "correct horse battery") && check("ADA", "correct horse battery"));
    assert!(!check("ada", "correct horse batterx") && !check("eve", "correct horse battery") && !check("ada", ""));
    assert!(matches!(accounts.add_user(&ada(Role::Operator)), Err(AccountsError::Refused(_))));
}

#[test]
fn a_password_is_stored_as_an_argon2id_hash_and_a_token_as_a_hash() {
    let (folder, accounts) = accounts();
    let user = accounts.add_user(&ada(Role::Administrator)).unwrap();
    let session = accounts.start_session(&user).unwrap();
    let new =
        NewToken { name: "host".into(), role: Role::Operator, owner: None, lifetime: None, created_by: "ada".into() };
    let (_, secret) = accounts.add_token(&new).unwrap();
    let hash: String = accounts.database().query_row("SELECT password FROM users", [], |row| row.get(0)).unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(accounts.session(session.reveal(), true).unwrap().is_some());
    assert!(accounts.token(secret.reveal()).unwrap().is_some());
    drop(accounts);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for plain in ["correct horse battery", session.reveal(), secret.reveal()] {
            assert!(!bytes.windows(plain.len()).any(|window| window == plain.as_bytes()));
        }
    }
}

#[cfg(unix)]
#[test]
fn the_file_can_be_read_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, _accounts) = accounts();
    let rights = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
}

#[test]
fn a_session_ends_when_it_is_idle_when_it_is_old_and_with_a_new_password() {
    let (_folder, mut accounts) = accounts();
    let user = accounts.add_user(&ada(Role::Administrator)).unwrap();
    accounts.clock = Clock::fixed(0);
    let goes_on =
        |accounts: &Accounts, secret: &SecretToken| accounts.session(secret.reveal(), true).unwrap().is_some();
    let idle = accounts.start_session(&user).unwrap();
    accounts.clock.advance(SESSION_IDLE + Duration::from_millis(1));
    assert!(!goes_on(&accounts, &idle));
    let old = accounts.start_session(&user).unwrap();
    for _ in 0..24 {
        assert!(goes_on(&accounts, &old));
        accounts.clock.advance(SESSION_IDLE);
    }
    accounts.clock.advance(Duration::from_millis(1));
    assert!(!goes_on(&accounts, &old));
    let other = accounts.start_session(&user).unwrap();
    assert!(goes_on(&accounts, &other));
    accounts.set_password("ada", "another long password").unwrap();
    assert!(!goes_on(&accounts, &other));
}

#[test]
fn a_token_is_refused_when_it_has_expired_or_is_revoked() {
    let (_folder, mut accounts) = accounts();
    accounts.clock = Clock::fixed(0);
    let minute = Duration::from_secs(60);
    let new = |lifetime| NewToken {
        name: "host".into(),
        role: Role::ReadOnly,
        owner: Some(62),
        lifetime,
        created_by: "ada".into(),
    };
    let (_, short) = accounts.add_token(&new(Some(minute))).unwrap();
    let (token, long) = accounts.add_token(&new(None)).unwrap();
    assert!(accounts.token(short.reveal()).unwrap().is_some());
    accounts.clock.advance(minute);
    assert!(accounts.token(short.reveal()).unwrap().is_none());
    assert_eq!(accounts.token(long.reveal()).unwrap().unwrap().owner, Some(62));
    accounts.revoke_token(token.id).unwrap();
    assert!(accounts.token(long.reveal()).unwrap().is_none());
}

#[test]
fn the_last_administrator_stays_one() {
    let (_folder, accounts) = accounts();
    accounts.add_user(&ada(Role::Administrator)).unwrap();
    assert!(matches!(accounts.remove_user("ada"), Err(AccountsError::Refused(_))));
    assert!(matches!(accounts.set_role("ada", Role::ReadOnly, None), Err(AccountsError::Refused(_))));
    accounts.add_user(&NewUser { name: "eve".into(), ..ada(Role::Administrator) }).unwrap();
    accounts.set_role("ada", Role::ReadOnly, Some(62)).unwrap();
    accounts.remove_user("ada").unwrap();
    assert!(matches!(accounts.remove_user("eve"), Err(AccountsError::Refused(_))));
}

#[test]
fn only_the_first_user_is_added_as_the_first() {
    let (_folder, accounts) = accounts();
    accounts.add_first_user(&ada(Role::Administrator)).unwrap();
    let second = NewUser { name: "eve".into(), ..ada(Role::Administrator) };
    assert!(matches!(accounts.add_first_user(&second), Err(AccountsError::Refused(_))));
}

#[test]
fn what_is_in_the_audit_log_stays_as_it_is() {
    let (_folder, accounts) = accounts();
    let entry = NewAudit { who: "ada", via: "page", action: "webhook.remove", object: "webhook 3", detail: "" };
    accounts.audit(&entry).unwrap();
    for change in ["UPDATE audit SET who = 'eve'", "DELETE FROM audit"] {
        let refused = accounts.database().execute(change, []).unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    let found = accounts.audited(&AuditFilter { text: Some("WEBHOOK 3".into()), limit: 10, ..AuditFilter::default() });
    assert_eq!(found.unwrap()[0].who, "ada");
}

#[test]
fn a_name_that_could_mislead_is_refused() {
    let (_folder, accounts) = accounts();
    for name in ["", "a b", "a\nb", "<b>", "cli:root"] {
        let new = NewUser { name: name.into(), ..ada(Role::Operator) };
        assert!(matches!(accounts.add_user(&new), Err(AccountsError::Refused(_))), "{name:?}");
    }
}
