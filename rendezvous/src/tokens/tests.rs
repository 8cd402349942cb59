//! The list of tokens and what was used, on a disk.

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn at(day: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(day * DAY.as_secs() + 5)
}

fn terms(label: &str) -> Terms {
    Terms { label: label.into(), ..Terms::default() }
}

#[test]
fn a_token_is_listed_until_it_is_revoked_and_is_not_in_the_file() {
    let tmp = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(&tmp.path().join("relay"));
    assert_eq!(tokens.all().unwrap(), []);
    let (token, ana) = tokens.issue(terms(" ana "), at(1)).unwrap();
    let grants = Grants { bytes_per_day: Some(1 << 40), logs: Some(3), ..Grants::default() };
    let (_, ben) = tokens.issue(Terms { lasts: Some(DAY), grants, ..terms("ben") }, at(1)).unwrap();
    assert_eq!(tokens.all().unwrap(), [ana.clone(), ben.clone()]);
    assert_eq!((ana.label.as_str(), ana.hash()), ("ana", Some(token.hash())));
    assert!(!ben.has_expired(at(1)) && ben.has_expired(at(2)) && !ana.has_expired(at(9999)));
    assert_eq!((ben.grants.or(&Limits::default()).logs, ben.expires), (3, Some(seconds(at(2)))));

    let file = fs::read(tmp.path().join("relay/tokens.toml")).unwrap();
    let holds = |secret: &[u8]| file.windows(secret.len()).any(|part| part == secret);
    assert!(!holds(token.as_bytes()) && !holds(token.to_text().as_bytes()));
    assert!(!holds(hex(token.as_bytes()).as_bytes()) && holds(hex(&token.hash()).as_bytes()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = fs::metadata(tmp.path().join("relay/tokens.toml")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    let before = tokens.stamp();
    assert_eq!(tokens.revoke(&ana.id).unwrap(), ana);
    assert_ne!(tokens.stamp(), before);
    assert_eq!(tokens.all().unwrap(), [ben]);
    assert!(matches!(tokens.revoke(&ana.id), Err(TokensError::Unknown { .. })));
}

#[test]
fn what_would_be_no_token_is_refused_and_changes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(tmp.path());
    for label in ["", " ", "a\nb", &"x".repeat(TOKEN_LABEL + 1)] {
        assert!(matches!(tokens.issue(terms(label), at(1)), Err(TokensError::BadLabel)));
    }
    for lasts in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(u64::MAX)] {
        let terms = Terms { lasts: Some(lasts), ..terms("x") };
        assert!(matches!(tokens.issue(terms, at(1)), Err(TokensError::BadTime)));
    }
    let grants = Grants { logs: Some(0), ..Grants::default() };
    let nothing = tokens.issue(Terms { grants, ..terms("x") }, at(1));
    assert!(matches!(nothing, Err(TokensError::BadGrant)));
    assert_eq!(tokens.stamp(), None);
}

#[test]
fn a_damaged_list_and_a_newer_one_are_told_apart_and_kept() {
    let tmp = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(tmp.path());
    tokens.issue(terms("x"), at(1)).unwrap();
    let path = tmp.path().join("tokens.toml");
    let whole = fs::read_to_string(&path).unwrap();
    let hash = whole.find("hash = \"").unwrap() + 8;
    let digit = if whole[hash..].starts_with('0') { "1" } else { "0" };
    let changed = format!("{}{digit}{}", &whole[..hash], &whole[hash + 1..]);
    for text in ["?", "version = 1\n[[token]]\nid = \"x\"\n", "", &changed] {
        fs::write(&path, text).unwrap();
        assert!(matches!(tokens.issue(terms("y"), at(1)), Err(TokensError::Damaged { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, "version = 2\nnew = 1\n").unwrap();
    assert!(matches!(tokens.all(), Err(TokensError::Newer { found: 2 })));
}

#[test]
fn commands_at_once_lose_no_token() {
    let tmp = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(tmp.path());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let tokens = &tokens;
            scope.spawn(move || tokens.issue(terms(&n.to_string()), at(1)).unwrap());
        }
    });
    let mut labels: Vec<_> = tokens.all().unwrap().into_iter().map(|it| it.label).collect();
    labels.sort();
    assert_eq!(labels, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn use_counts_for_its_day_and_is_read_as_it_was_written() {
    let tmp = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(tmp.path());
    assert_eq!(tokens.usage().of("a", at(7)), 0);
    let usage = Usage::new(at(7), [("a".into(), 5), ("b".into(), u64::MAX)].into());
    usage.write(&tokens).unwrap();
    let read = tokens.usage();
    assert_eq!((read.of("a", at(7)), read.of("c", at(7)), read.of("a", at(8))), (5, 0, 0));
    assert_eq!(read.of("b", at(7)), i64::MAX.unsigned_abs());
    fs::write(tmp.path().join("token-use.toml"), "?").unwrap();
    assert_eq!(tokens.usage().of("a", at(7)), 0);
    assert_eq!(usage::rest_of_day(at(7)), DAY - Duration::from_secs(5));
}
