//! A node is killed at the worst moment and comes back: nothing twice, no key used again.

use harness::World;
use node::api::types::What;

#[test]
fn a_writer_killed_right_after_sending_delivers_once_and_makes_a_new_chain() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, ben) = world.pair(&relay);
    ana.send("tea", "before");
    ben.hears("tea", "before");

    for round in 0..3 {
        let last_word = format!("last words {round}");
        ana.send("tea", &last_word);
        ana.kill9();
        let seen = ben.latest_event();
        ana.start_again();
        ben.hears("tea", &last_word);

        ana.send("tea", &format!("back again {round}"));
        ben.hears("tea", &format!("back again {round}"));
        let ana_id = ana.member().to_owned();
        ben.until_after(seen, "a new chain of ana's", |event| match &event.what {
            What::Rotated { sender, .. } if sender.id == ana_id => Some(()),
            _ => None,
        });
    }
    let mut expected = vec!["before".to_owned()];
    for round in 0..3 {
        expected.extend([format!("last words {round}"), format!("back again {round}")]);
    }
    assert_eq!(ben.texts("tea"), expected, "each once, in order");
    assert_eq!(ana.texts("tea"), expected);
}

#[test]
fn a_reader_killed_between_send_and_delivery_reads_it_once() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    ana.send("tea", "before");
    ben.hears("tea", "before");

    let mut expected = vec!["before".to_owned()];
    for round in 0..5 {
        let text = format!("in between {round}");
        ana.send("tea", &text);
        ben.kill9();
        ben.start_again();
        ben.hears("tea", &text);
        expected.push(text);
    }
    assert_eq!(ben.texts("tea"), expected, "each once, in order");
}
