//! Named cursors: names, bounds, and whose they are.

use crate::{
    api::types::{SetCursor, TakeCursor},
    core::{CursorError, VerbError},
};

fn take(group: &str) -> TakeCursor {
    TakeCursor { group: group.into(), from_start: false }
}

fn refused<T>(result: Result<T, VerbError>) -> CursorError {
    match result {
        Err(VerbError::Cursor(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was done"),
    }
}

#[test]
fn cursors_have_plain_names_and_there_are_64() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let now = world.now;
    let core = world.core("ada");
    for name in ["", "-x", ".x", "a b", "Ä", "A", "../x", "a\n", &"x".repeat(33)] {
        let error = refused(core.take_cursor(name, &take("reading"), now));
        assert!(matches!(error, CursorError::BadName), "{name:?}: {error}");
    }
    for n in 0..64 {
        core.take_cursor(&format!("cursor-{n}.x_y"), &take("reading"), now).unwrap();
    }
    let error = refused(core.take_cursor("one-more", &take("reading"), now));
    assert!(matches!(error, CursorError::TooMany), "{error}");
    core.take_cursor("cursor-3.x_y", &take("reading"), now).unwrap();
    core.drop_cursor("cursor-3.x_y").unwrap();
    core.take_cursor("one-more", &take("reading"), now).unwrap();
    assert_eq!(core.cursors().unwrap().len(), 64);
}

#[test]
fn a_cursor_moves_forwards_and_no_further_than_events_go() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.send("ada", "reading", "hello");
    let now = world.now;
    let core = world.core("ada");
    let start = SetCursor { group: "reading".into(), after: None, from_start: true };
    let last = core.set_cursor("ship", &start, now).unwrap().last;
    assert!(last > 2);
    let mut to = |after| core.move_cursor("ship", after, now);
    assert_eq!(to(2).unwrap().after, 2);
    assert_eq!(to(1).unwrap().after, 2, "it stands further");
    assert!(matches!(refused(to(last + 1)), CursorError::Ahead { .. }));
    assert_eq!(to(last).unwrap().after, last);
    let error = refused(core.move_cursor("none", 1, now));
    assert!(matches!(error, CursorError::None(_)), "{error}");
    let to = SetCursor { group: "reading".into(), after: Some(1), from_start: false };
    assert_eq!(core.set_cursor("ship", &to, now).unwrap().after, 1, "set anywhere");

    world.stop("ada");
    world.start("ada");
    assert_eq!(world.core("ada").take_cursor("ship", &take("reading"), now).unwrap().after, 1);
    world.create("ada", "writing");
    let error = refused(world.core("ada").take_cursor("ship", &take("writing"), now));
    assert!(matches!(error, CursorError::OtherGroup { .. }), "{error}");
}
