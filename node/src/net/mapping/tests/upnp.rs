//! The task beside a router that speaks UPnP alone.

use super::{
    igd::{Entry, State},
    *,
};

impl Home {
    /// Behind this router.
    async fn by_upnp(state: State) -> Self {
        let home = Self::new(UNSPOKEN).await;
        home.igd.becomes(state);
        home
    }

    /// Takes back, as a start without the option does, until the task ends by itself.
    async fn takes_back(&self) {
        timeout(PATIENCE, self.idle(Aim::TakeBack).task).await.unwrap().unwrap();
    }
}

impl Router {
    /// The next question for UDP, which is the last of a round.
    async fn next_udp(&mut self) -> Question {
        loop {
            let next = self.next_for(LIFETIME).await;
            if next.transport == 17 {
                return next;
            }
        }
    }
}

impl Mapping {
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[tokio::test]
async fn what_stands_for_ever_is_not_forgotten_on_the_word_of_another_router_at_that_address() {
    let only_for_ever = State { only_for_ever: true, ..State::of("uuid:home") };
    let home = Home::by_upnp(only_for_ever).await;
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Upnp);
    mapping.kill().await;
    let at_home = home.igd.becomes(State::of("uuid:cafe"));
    assert_eq!(at_home.table.len(), 2);
    // There it may even have the same address itself.
    for own in [OWN, Ipv4Addr::new(127, 0, 0, 2)] {
        home.is(Ok(gateway(own)));
        home.idle(Aim::TakeBack).end().await;
        assert!(home.igd.state().orders.is_empty(), "another router is asked nothing about it");
        let mut mapping = home.mapping();
        assert_eq!(mapping.stands().await, Language::Upnp);
        mapping.end().await;
        let there = home.igd.becomes(State::of("uuid:cafe"));
        assert!(there.table.is_empty(), "{there:?}");
        assert_eq!(there.from, BTreeSet::from([own.into()]));
        assert!(!home.is_clean(), "at home it still stands");
    }
    home.is(Ok(gateway(OWN)));
    home.igd.becomes(at_home);
    home.takes_back().await;
    assert!(home.is_clean());
    assert!(home.igd.state().table.is_empty());
}

#[tokio::test]
async fn what_is_told_in_one_language_is_not_taken_back_in_another() {
    let mut home = Home::by_upnp(State::of("uuid:home")).await;
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Upnp);
    home.igd.change(|igd| igd.garbles = "GetExternalIPAddress");
    home.router.behaves(PCP);
    mapping.moved();
    assert_eq!(mapping.stands().await, Language::Pcp);
    // The round after that begins when that one is over.
    let asked = home.router.next_udp().await;
    mapping.wanted.send_modify(|wanted| wanted.outside = vec![OUTSIDE]);
    assert_eq!(home.router.next_udp().await, asked);
    let orders = home.igd.state().orders;
    assert!(!orders.contains(&"DeletePortMapping".to_owned()), "a router may have one table");
    mapping.end().await;
    assert!(home.is_clean() && home.igd.state().table.is_empty());
}

#[tokio::test]
async fn what_a_router_did_without_confirming_it_is_taken_back() {
    let garbles = State { garbles: "AddPortMapping", ..State::of("uuid:home") };
    let home = Home::by_upnp(garbles).await;
    let mut mapping = home.mapping();
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Garbled));
    mapping.kill().await;
    home.takes_back().await;
    let igd = home.igd.state();
    assert!(igd.orders.contains(&"DeletePortMapping".to_owned()) && igd.table.is_empty());
    assert!(home.is_clean());
}

#[tokio::test]
async fn what_somebody_typed_in_at_the_router_is_told_and_stays_as_it_is() {
    let home = Home::by_upnp(State::of("uuid:home")).await;
    let by_hand = [("TCP", "Wattle"), ("UDP", "")].map(|(protocol, name)| {
        ((protocol.to_owned(), "4408".to_owned()), Entry::by_hand(OWN, name))
    });
    let table = BTreeMap::from(by_hand);
    home.igd.change(|igd| igd.table = table.clone());
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Upnp);
    assert!(home.is_clean(), "it is not the node's to remember");
    mapping.moved();
    mapping.end().await;
    assert_eq!(home.igd.state().table, table);
    // Of who is killed, too.
    let mut mapping = home.mapping();
    mapping.stands().await;
    mapping.kill().await;
    home.takes_back().await;
    assert_eq!(home.igd.state().table, table);
}

#[tokio::test]
async fn at_a_router_that_keeps_no_names_what_it_was_asked_for_is_the_nodes() {
    let bare = State { keeps_no_names: true, only_for_ever: true, ..State::of("uuid:home") };
    let home = Home::by_upnp(bare).await;
    for _ in 0..2 {
        let mut mapping = home.mapping();
        assert_eq!(mapping.stands().await, Language::Upnp);
        mapping.kill().await;
        assert!(!home.is_clean());
    }
    home.takes_back().await;
    assert!(home.is_clean() && home.igd.state().table.is_empty());
}

#[tokio::test]
async fn a_slow_router_has_so_long_and_what_it_granted_by_then_is_taken_back() {
    let (step, slow) = (Duration::from_millis(500), State::of("uuid:home"));
    let mut home = Home::by_upnp(State { slow: step, ..slow }).await;
    // By then it has been asked for one of the two ports.
    home.round = step * 6;
    let mut mapping = home.mapping();
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Silent));
    home.igd.change(|igd| igd.slow = Duration::ZERO);
    mapping.end().await;
    assert!(home.is_clean() && home.igd.state().table.is_empty());
}

#[tokio::test]
async fn what_relays_contradict_beforehand_is_not_asked_for() {
    let home = Home::by_upnp(State::of("uuid:home")).await;
    let mut mapping = home.mapping_seen_at(&[Ipv4Addr::new(11, 79, 0, 1)]);
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Contradicted));
    mapping.end().await;
    let orders = home.igd.state().orders;
    assert!(!orders.is_empty() && !orders.contains(&"AddPortMapping".to_owned()), "{orders:?}");
}

#[tokio::test]
async fn what_was_granted_under_another_address_of_the_machines_is_taken_back_there_too() {
    let only_for_ever = State { only_for_ever: true, ..State::of("uuid:home") };
    let home = Home::by_upnp(only_for_ever).await;
    home.is(Ok(gateway(Ipv4Addr::new(127, 0, 0, 2))));
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Upnp);
    mapping.kill().await;
    home.is(Ok(gateway(OWN)));
    home.takes_back().await;
    assert!(home.is_clean());
    assert!(home.igd.state().table.is_empty());
}

#[tokio::test]
async fn at_a_router_that_refuses_what_it_passes_on_already_the_ports_stay_the_same() {
    let strict = State { refuses_again: true, only_for_ever: true, ..State::of("uuid:home") };
    let home = Home::by_upnp(strict).await;
    let ports = ["TCP", "UDP"].map(|protocol| (protocol.to_owned(), "4408".to_owned()));
    for _ in 0..3 {
        let mut mapping = home.mapping();
        assert_eq!(mapping.stands().await, Language::Upnp);
        assert!(home.igd.state().table.keys().eq(&ports), "{:?}", home.igd.state().table);
        mapping.kill().await;
    }
    home.takes_back().await;
    assert!(home.is_clean() && home.igd.state().table.is_empty());
}

#[tokio::test]
async fn a_port_that_the_router_says_to_be_anothers_is_not_taken_back() {
    let home = Home::by_upnp(State::of("uuid:home")).await;
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Upnp);
    mapping.kill().await;
    home.igd.change(|igd| igd.is_full = true);
    let mut mapping = home.mapping();
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Refused));
    mapping.end().await;
    let igd = home.igd.state();
    assert_eq!(igd.over, BTreeSet::from(["4408".to_owned()]), "what it was granted before");
    assert!(home.is_clean() && igd.table.is_empty());
}
