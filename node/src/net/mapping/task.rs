//! The task that asks the router, again and again, and takes back what is not wanted any more.
//!
//! A round asks for all ports in one language after another until the router agrees to all of them in one. Then what routers
//! have granted besides is taken back: at a router that this machine has left or goes around, in another language where that
//! leads from another port outside, for another port, or of a round that was cut.
//!
//! A round takes milliseconds where the router answers, 12 s where it says nothing at all (4 of them in PCP, 4 in NAT-PMP, 4 in UPnP's
//! search), and where it is slow a minute at most, and another one for what is taken back. What it goes by is looked at meanwhile: where
//! that is another, the round is cut and the next begins.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::ids::Timestamp;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Aim, Failure, Gateway, LIFETIME, Language, Leads, Lease, Look, Port, Reply, Standing,
    Transport, Wanted, Way,
    gateway::is_global,
    leads::{Lead, Whose},
    upnp,
};

/// Where the task is.
pub(super) struct Here {
    /// The router that there is now.
    pub(super) find: Box<dyn Fn() -> Result<Gateway, Failure> + Send + Sync>,
    pub(super) clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// At which port PCP and NAT-PMP are spoken, and UPnP's search is heard.
    pub(super) port: u16,
    pub(super) search: u16,
    /// How often it is looked whether there is another router, or a tunnel, of which no address tells.
    pub(super) look: Duration,
    /// How long it has for one exchange of UPnP's.
    pub(super) asking: Duration,
    /// How long the router has in a round to agree, and then to take back.
    pub(super) round: Duration,
    /// How long it has at the end.
    pub(super) leave: Duration,
}

pub(super) struct Task {
    here: Arc<Here>,
    aim: Aim,
    rng: ChaCha20Rng,
    leads: Leads,
    /// The router, and the count of changes of the network, in the last round.
    seen: Option<Result<Gateway, Failure>>,
    changes: u64,
    /// By which addresses relays see this machine; none that are not the internet's, which are those of a network that it
    /// shares with the relay.
    outside: Vec<Ipv4Addr>,
    /// Where a router was found last by UPnP.
    place: Option<upnp::Place>,
    failures: u32,
    /// What was told last.
    told: Option<Standing>,
    given: mpsc::Sender<Standing>,
}

/// After a failure it is asked again so much later, and each time twice as much, up to the last.
const RETRY: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(30 * 60);
/// Sooner the first times where nobody was asked, or the network has changed: an address comes before its route.
const QUICK: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];
/// Questions for one port: where one outside is somebody else's, for another.
const TRIES: usize = 5;

impl Task {
    pub(super) fn new(
        seed: [u8; 32],
        leads: Leads,
        aim: Aim,
        here: Here,
        given: mpsc::Sender<Standing>,
    ) -> Self {
        let rng = ChaCha20Rng::from_seed(seed);
        let (seen, changes, outside) = (None, 0, Vec::new());
        let (place, failures, told) = (None, 0, None);
        let here = Arc::new(here);
        Self { here, aim, rng, leads, seen, changes, outside, place, failures, told, given }
    }

    pub(super) async fn run(mut self, mut told: watch::Receiver<Wanted>) {
        // Until it is known where the node listens, there is nothing to ask for.
        let mut goes_on = self.aim == Aim::TakeBack || told.changed().await.is_ok();
        let here = Arc::clone(&self.here);
        while goes_on {
            let wanted = told.borrow_and_update().clone();
            let seen = (here.find)();
            let next = tokio::select! {
                next = self.round(&seen, &wanted) => next,
                // What it was granted is noted.
                on = other(&here, &seen, &wanted, None, &mut told) => {
                    goes_on = on;
                    continue;
                }
            };
            if self.aim == Aim::TakeBack && self.leads.is_empty() {
                return;
            }
            goes_on = tokio::select! {
                () = sleep_until(next) => true,
                on = other(&here, &seen, &wanted, Some(&wanted.outside), &mut told) => on,
            };
        }
        // What is not taken back by then ends with its time, or at the next start.
        let _ = timeout(self.here.leave, self.take_back(|_| true)).await;
    }

    /// Asks once for all that is wanted, and takes back the rest; says when to ask again.
    async fn round(&mut self, seen: &Result<Gateway, Failure>, wanted: &Wanted) -> Instant {
        if self.changes != wanted.changes || self.seen.as_ref() != Some(seen) {
            self.failures = 0;
        }
        (self.changes, self.seen) = (wanted.changes, Some(seen.clone()));
        self.outside = wanted.outside.iter().copied().filter(|ip| is_global(*ip)).collect();
        self.leads.run_out(self.now()).await;
        let (stands, after) = match self.aim {
            Aim::Map => match self.map(seen, wanted).await {
                Some(mapped) => mapped,
                // Where it leaves now by this way and now by that, it is not asked without a pause.
                None => return Instant::now() + QUICK[0],
            },
            Aim::TakeBack => {
                self.failures = self.failures.saturating_add(1);
                (Vec::new(), self.retry(Failure::NoRouter))
            }
        };
        let round = self.here.round;
        let is_over = |lead: &Lead| {
            !stands.iter().any(|told| told.nonce == lead.nonce || told.goes_with(lead))
        };
        let _ = timeout(round, self.take_back(is_over)).await;
        Instant::now() + after
    }

    /// Asks for all that is wanted and tells how it stands: what stands, and for how long nobody is asked. None where the
    /// machine's packets have come to leave by another way meanwhile.
    async fn map(
        &mut self,
        seen: &Result<Gateway, Failure>,
        wanted: &Wanted,
    ) -> Option<(Vec<Lead>, Duration)> {
        let ports = seen.as_ref().map(|gateway| ports(&wanted.listening, gateway.own));
        let ports = ports.unwrap_or_default();
        let asked = match seen {
            Ok(gateway) => {
                let round = self.here.round;
                let asked = timeout(round, self.ask(gateway, &ports)).await;
                asked.unwrap_or(Err(Failure::Silent))
            }
            Err(failure) => Err(*failure),
        };
        if (self.here.find)() != *seen {
            return None;
        }
        let (leads, failure) = match (asked, seen) {
            (Ok(leads), _) => (leads, None),
            // What was granted before stands on.
            (Err(failure), Ok(gateway)) if failure.is_passing() => {
                (self.leads.good(gateway, &ports, self.now()), Some(failure))
            }
            (Err(failure), _) => (Vec::new(), Some(failure)),
        };
        let (leads, failure) = match leads.iter().find_map(|lead| self.fits(lead).err()) {
            Some(misfit) => (Vec::new(), Some(misfit)),
            None => (leads, failure),
        };
        self.failures = failure.map_or(0, |_| self.failures.saturating_add(1));
        let after = failure.map(|failure| self.retry(failure));
        let Some(first) = leads.first() else {
            self.tell(Standing::Fails(failure.unwrap_or(Failure::Silent))).await;
            return Some((leads, after.unwrap_or(RETRY)));
        };
        let until = leads.iter().filter_map(|lead| lead.until).min();
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let half = (rest.unwrap_or_default() / 2).max(QUICK[0]);
        let addresses = addresses(&leads, &wanted.listening);
        self.tell(Standing::Stands(first.language, addresses)).await;
        Some((leads, after.map_or(half, |after| after.min(half))))
    }

    /// Asks in one language after another, first in that which the router has agreed in last.
    async fn ask(&mut self, gateway: &Gateway, ports: &[Port]) -> Result<Vec<Lead>, Failure> {
        if ports.is_empty() {
            return Err(Failure::NothingListens);
        }
        // What leads to another address of this machine's is in the way of what is asked for next.
        let is_former = |lead: &Lead| lead.gateway != *gateway && lead.gateway.is_router(gateway);
        self.take_back(is_former).await;
        let known = self.leads.iter().filter(|lead| lead.gateway == *gateway);
        let known = known.max_by_key(|lead| lead.good).map(|lead| lead.language);
        let mut languages = [Language::Pcp, Language::NatPmp, Language::Upnp];
        languages.sort_by_key(|language| Some(*language) != known);
        let mut failure = Failure::Silent;
        for language in languages {
            let mapped = match self.way(gateway, language).await {
                Ok(way) => self.map_all(gateway, &way, ports).await,
                Err(failure) => Err(failure),
            };
            match mapped {
                Ok(leads) => return Ok(leads),
                Err(met) => failure = failure.max(met),
            }
        }
        Err(failure)
    }

    async fn way(&mut self, gateway: &Gateway, language: Language) -> Result<Way, Failure> {
        let way = way(gateway, language, &self.here, self.place.clone()).await?;
        if let Way::Upnp(device) = &way {
            self.place = Some(device.place.clone());
        }
        Ok(way)
    }

    async fn map_all(
        &mut self,
        gateway: &Gateway,
        way: &Way,
        ports: &[Port],
    ) -> Result<Vec<Lead>, Failure> {
        let mut leads = Vec::new();
        for port in ports {
            leads.push(self.map_one(gateway, way, *port).await?);
        }
        Ok(leads)
    }

    /// Asks for one port, until the router agrees to one outside, or says no.
    async fn map_one(&mut self, gateway: &Gateway, way: &Way, port: Port) -> Result<Lead, Failure> {
        let known = self.leads.get(gateway, way, port).cloned();
        let is_new = known.is_none();
        let lead = known.unwrap_or_else(|| self.fresh(gateway, way, port));
        let nonce = lead.nonce;
        let mapped = self.map_lead(gateway, way, lead).await;
        // Who says nothing, or what can't be read, may have done it: then it is asked for again, and taken back, under
        // the same number.
        let may_stand = matches!(mapped, Ok(_) | Err(Failure::Silent | Failure::Garbled));
        if is_new && !may_stand {
            self.leads.forget(|known| known.nonce == nonce).await;
        }
        let lead = mapped?;
        self.fits(&lead)?;
        Ok(lead)
    }

    async fn map_lead(
        &mut self,
        gateway: &Gateway,
        way: &Way,
        mut lead: Lead,
    ) -> Result<Lead, Failure> {
        let former = self.leads.iter().find(|known| known.nonce == lead.nonce).cloned();
        for _ in 0..TRIES {
            let (now, lease) = (self.now(), lead.lease());
            let look = way.look(gateway, &lead.ask(lease)).await?;
            match look {
                Look::Free(None) => {}
                Look::Free(Some(outside)) | Look::Own(outside) => {
                    lead.external.set_ip(outside);
                    self.fits(&lead)?;
                }
                Look::Stood(external) => {
                    lead.granted(external, Some(LIFETIME), now);
                    lead.whose = Whose::Persons;
                    self.leads.note(lead.clone()).await;
                    return Ok(lead);
                }
                Look::Taken => {
                    lead.external.set_port(another(lead.external.port(), lead.nonce));
                    continue;
                }
            }
            // The answer can be lost, and this process killed: from now on it may stand.
            let by_then = now.plus_ms(u64::from(LIFETIME) * 1000);
            lead.gone = lead.gone.map(|gone| gone.max(by_then));
            lead.whose = Whose::Own;
            if !self.leads.note(lead.clone()).await {
                return Err(Failure::Unkept);
            }
            match way.map(gateway, &lead.ask(lease)).await? {
                Reply::Granted(external, for_s) => {
                    lead.granted(external, for_s, now);
                    self.leads.note(lead.clone()).await;
                    return Ok(lead);
                }
                // Some routers refuse to pass on again what they pass on already.
                Reply::Taken if matches!(look, Look::Own(_)) => {
                    way.take_back(gateway, &lead.ask(Lease::Over)).await?;
                }
                Reply::Taken => {
                    self.note_again(former.as_ref(), lead.nonce).await;
                    lead.external.set_port(another(lead.external.port(), lead.nonce));
                }
                Reply::OnlyForEver if lease == Lease::Hour => lead.gone = None,
                Reply::OnlyForEver => break,
            }
        }
        Err(Failure::Refused)
    }

    /// A port that the router has just said to be another's is not this node's to take back: what was noted before is
    /// noted again.
    async fn note_again(&mut self, former: Option<&Lead>, nonce: [u8; 12]) {
        match former {
            Some(former) => {
                self.leads.note(former.clone()).await;
            }
            None => self.leads.forget(|lead| lead.nonce == nonce).await,
        }
    }

    /// A lead that nobody was asked for yet.
    fn fresh(&mut self, gateway: &Gateway, way: &Way, port: Port) -> Lead {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        let external = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port.number);
        let (good, gone, whose) = (Timestamp(0), Some(Timestamp(0)), Whose::Nobodys);
        Lead {
            gateway: gateway.clone(),
            language: way.language(),
            udn: way.udn().to_owned(),
            port,
            external,
            nonce,
            good,
            until: None,
            gone,
            whose,
        }
    }

    /// Has routers that can be reached take back what isn't wanted, all at once; the others are asked another time.
    async fn take_back(&mut self, is_over: impl Fn(&Lead) -> bool) {
        let over = self.leads.iter().filter(|lead| is_over(lead) && lead.whose == Whose::Own);
        let here = &self.here;
        let mut asked: FuturesUnordered<_> = over
            .filter_map(|lead| Some((self.reach(lead)?, lead.clone(), self.place.clone())))
            .map(|(gateway, lead, place)| async move {
                let way = way(&gateway, lead.language, here, place).await.ok()?;
                // Another network's router may have the same address. It knows nothing of this one's.
                if way.udn() != lead.udn {
                    return None;
                }
                way.take_back(&gateway, &lead.ask(Lease::Over)).await.ok()?;
                Some(lead.nonce)
            })
            .collect();
        while let Some(done) = asked.next().await {
            if let Some(nonce) = done {
                self.leads.forget(|lead| lead.nonce == nonce).await;
            }
        }
    }

    /// How a router is reached that knew this machine so, if there is one still. By UPnP, where it says itself which one it
    /// is, that may be from another address of this machine's.
    fn reach(&self, lead: &Lead) -> Option<Gateway> {
        let then = &lead.gateway;
        let is_near =
            |now: &&Gateway| *now == then || lead.language == Language::Upnp && then.is_router(now);
        let now = self.seen.as_ref().and_then(|seen| seen.as_ref().ok());
        if then.is_there() { Some(then.clone()) } else { now.filter(is_near).cloned() }
    }

    async fn tell(&mut self, standing: Standing) {
        if self.told.as_ref() != Some(&standing) {
            // Who is gone drops what is wanted, too.
            let _ = self.given.send(standing.clone()).await;
            self.told = Some(standing);
        }
    }

    /// Whether an address can be told to anybody: it is the internet's, and relays that see this machine don't all see it
    /// elsewhere.
    fn fits(&self, lead: &Lead) -> Result<(), Failure> {
        let (at, seen) = (lead.external.ip(), &self.outside);
        if lead.external.port() == 0 {
            return Err(Failure::Garbled);
        }
        match (is_global(*at), seen.is_empty() || seen.contains(at)) {
            (false, _) => Err(Failure::NotGlobal),
            (true, false) => Err(Failure::Contradicted),
            (true, true) => Ok(()),
        }
    }

    fn retry(&self, failure: Failure) -> Duration {
        // Where relays say another thing it is asked at once; PCP can be compared only once a port is open.
        if failure == Failure::Contradicted {
            return RETRY_MAX;
        }
        let is_quick = failure < Failure::Silent || self.changes > 0;
        retry(self.failures, is_quick)
    }

    fn now(&self) -> Timestamp {
        (self.here.clock)()
    }
}

impl Lead {
    /// Whether this one may be gone when that one is taken back: a router may have one table for all languages. NAT-PMP
    /// names no port outside. That one is taken back with this one.
    fn goes_with(&self, other: &Self) -> bool {
        let is_same = self.external.port() == other.external.port()
            || other.language == Language::NatPmp && self.port == other.port;
        is_same
            && self.port.transport == other.port.transport
            && self.gateway.is_router(&other.gateway)
    }

    /// For how long it is asked for: what was had for ever only, again so.
    fn lease(&self) -> Lease {
        match self.gone {
            Some(_) => Lease::Hour,
            None => Lease::Ever,
        }
    }
}

/// Where the node can be reached from outside: each port that it listens at, as the router has it.
fn addresses(leads: &[Lead], listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let me = listening.iter().find_map(|address| match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    });
    let all = leads.iter().map(|lead| {
        let at = Multiaddr::from(*lead.external.ip());
        let number = lead.external.port();
        match lead.port.transport {
            Transport::Udp => at.with(Protocol::Udp(number)).with(Protocol::QuicV1),
            Transport::Tcp => at.with(Protocol::Tcp(number)),
        }
    });
    let named = |address: Multiaddr| match me {
        Some(me) => address.with(Protocol::P2p(me)),
        None => address,
    };
    all.map(named).collect()
}

/// The ports at which the node listens on an address of this machine's.
fn ports(listening: &[Multiaddr], own: Ipv4Addr) -> Vec<Port> {
    let ports = listening.iter().filter_map(|address| {
        let mut parts = address.iter();
        let (Some(Protocol::Ip4(ip)), Some(port)) = (parts.next(), parts.next()) else {
            return None;
        };
        let port = match (port, parts.next()) {
            (Protocol::Tcp(number), None | Some(Protocol::P2p(_))) => {
                Port { transport: Transport::Tcp, number }
            }
            (Protocol::Udp(number), Some(Protocol::QuicV1)) => {
                Port { transport: Transport::Udp, number }
            }
            _ => return None,
        };
        (ip == own).then_some(port)
    });
    let mut all: Vec<Port> = Vec::new();
    for port in ports {
        // One of each: a router is not asked for more.
        if all.iter().all(|known| known.transport != port.transport) {
            all.push(port);
        }
    }
    all
}

/// Another port outside, of chance: where one is somebody else's, its neighbours may be, too.
fn another(port: u16, nonce: [u8; 12]) -> u16 {
    let [a, b, ..] = nonce;
    1024 + (port ^ u16::from_be_bytes([a, b])).wrapping_mul(31) % (u16::MAX - 1024)
}

/// Where this language is spoken to a router.
async fn way(
    gateway: &Gateway,
    language: Language,
    here: &Here,
    place: Option<upnp::Place>,
) -> Result<Way, Failure> {
    Ok(match language {
        Language::Pcp => Way::Pcp(here.port),
        Language::NatPmp => Way::NatPmp(here.port),
        Language::Upnp => Way::Upnp(upnp::find(gateway, here.search, here.asking, place).await?),
    })
}

/// Waits until what a round goes by is another; false, where nobody wants anything any more. What relays say is compared
/// now and then, and between rounds: one that says another thing each time begins no more of them, and cuts none.
async fn other(
    here: &Here,
    seen: &Result<Gateway, Failure>,
    wanted: &Wanted,
    outside: Option<&[Ipv4Addr]>,
    told: &mut watch::Receiver<Wanted>,
) -> bool {
    let is_news = |now: &Wanted| now.changes != wanted.changes || now.listening != wanted.listening;
    loop {
        tokio::select! {
            changed = told.wait_for(is_news) => return changed.is_ok(),
            () = sleep(here.look) => {}
        }
        let is_seen_elsewhere = outside.is_some_and(|outside| told.borrow().outside != outside);
        if is_seen_elsewhere || (here.find)() != *seen {
            return true;
        }
    }
}

fn retry(failures: u32, is_quick: bool) -> Duration {
    let quick = if is_quick { QUICK.len() } else { 0 };
    let before = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    if let Some(soon) = QUICK[..quick].get(before) {
        return *soon;
    }
    let doubled = before.saturating_sub(quick).min(8);
    RETRY.saturating_mul(1 << doubled).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_again_ever_later() {
        let after = |is_quick| [1, 2, 3, 4, 5, 9, u32::MAX].map(|n| retry(n, is_quick).as_secs());
        assert_eq!(after(false), [60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(after(true), [2, 5, 15, 60, 120, 1800, 1800]);
    }

    #[test]
    fn another_port_is_none_that_the_system_keeps() {
        let mut port = 4408;
        for _ in 0..TRIES {
            let next = another(port, [0xa5; 12]);
            assert!(next >= 1024 && next != port, "{port} {next}");
            port = next;
        }
    }
}
