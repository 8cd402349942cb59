//! Which tokens a relay takes: shown one after the other, each only to open what is planned under it.
//!
//! > A token is shown where logs wait for it. What is opened after it counts for it, so that nothing
//! > is opened before it is taken, nor the next one shown before those logs are opened. One that is
//! > refused is shown again after a pause, and keeps up nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::{
    ids::LogId,
    relay_log::{Refusal, RelayToken},
};

use crate::net::relay::{TokenFault, Under};

/// How long to wait before a token that was refused is shown again on the same connection: at first,
/// as long as a relay takes to notice a new one, and at most.
pub(super) const TOKEN_PAUSE: [Duration; 2] = [Duration::from_secs(2), Duration::from_mins(1)];

/// The tokens of the plan, and how each stands on this connection.
#[derive(Default)]
pub(super) struct Tokens {
    /// Whether the relay opens logs under tokens only.
    wanted: bool,
    known: BTreeMap<[u8; 32], Known>,
    /// Logs that wait for their token to be taken.
    shut: BTreeMap<Under, BTreeSet<LogId>>,
    /// What is opened now is under this one.
    current: Under,
    /// The one that was shown and is not answered yet.
    asked: Under,
    /// Whether one was taken.
    is_up: bool,
    /// What was reported last.
    told: BTreeMap<Under, Option<TokenFault>>,
}

struct Known {
    token: RelayToken,
    /// Whether a relay was ever shown it.
    was_shown: bool,
    fault: Option<TokenFault>,
    again: Option<Instant>,
    tries: u32,
}

impl Tokens {
    /// Takes the tokens of a new plan; `closed` gives what each of its logs that is not open is to be
    /// opened under.
    pub(super) fn plan(
        &mut self,
        tokens: BTreeMap<[u8; 32], RelayToken>,
        closed: impl Fn(&LogId) -> Option<Under>,
    ) {
        self.known.retain(|hash, _| tokens.contains_key(hash));
        for (hash, token) in tokens {
            self.known.entry(hash).or_insert(Known {
                token,
                was_shown: false,
                fault: None,
                again: None,
                tries: 0,
            });
        }
        for (under, logs) in &mut self.shut {
            logs.retain(|log| closed(log) == Some(*under));
        }
        self.shut.retain(|_, logs| !logs.is_empty());
        // One that comes back to the plan is shown again, so that it is told how it stands.
        self.current = self.current.filter(|hash| self.known.contains_key(hash));
        let (known, shut) = (&self.known, &self.shut);
        self.told.retain(|under, _| match under {
            Some(hash) => known.contains_key(hash),
            None => shut.contains_key(under),
        });
    }

    /// Begins a connection, or ends one.
    pub(super) fn begin(&mut self, wanted: bool) {
        self.wanted = wanted;
        self.shut.clear();
        (self.current, self.asked, self.is_up) = (None, None, false);
        self.told.clear();
        for known in self.known.values_mut() {
            (known.fault, known.again, known.tries) = (None, None, 0);
        }
    }

    /// The next token to be shown, one at a time.
    pub(super) fn next(&mut self, now: Instant) -> Option<RelayToken> {
        if self.asked.is_some() {
            return None;
        }
        let due = |hash: &[u8; 32]| {
            self.known.get(hash).is_some_and(|known| known.again.is_none_or(|at| at <= now))
        };
        let hash = self.shut.keys().flatten().copied().find(due)?;
        let known = self.known.get_mut(&hash)?;
        known.was_shown = true;
        (self.asked, self.current) = (Some(hash), None);
        Some(known.token.clone())
    }

    /// The token that was shown is good: which it is, and the logs that wait for it. `None`: none was
    /// shown.
    pub(super) fn taken(&mut self) -> Option<(Under, BTreeSet<LogId>)> {
        let hash = self.asked.take()?;
        if let Some(known) = self.known.get_mut(&hash) {
            (known.fault, known.again, known.tries) = (None, None, 0);
        }
        self.current = self.known.contains_key(&hash).then_some(hash);
        self.is_up = true;
        Some((Some(hash), self.shut.remove(&Some(hash)).unwrap_or_default()))
    }

    /// The token that was shown is not taken: which it is, and why. `None`: none was shown.
    pub(super) fn refused(&mut self, reason: Refusal, now: Instant) -> Option<(Under, TokenFault)> {
        let hash = self.asked.take()?;
        let (fault, asked) = match reason {
            Refusal::TokenSpent { retry_ms } => (TokenFault::Spent, retry_ms),
            _ => (TokenFault::Refused, 0),
        };
        if let Some(known) = self.known.get_mut(&hash) {
            let [least, most] = TOKEN_PAUSE;
            let pause = least.saturating_mul(1 << known.tries.min(16));
            known.again = Some(now + pause.max(Duration::from_millis(asked)).min(most));
            known.tries = known.tries.saturating_add(1);
            known.fault = Some(fault);
        }
        Some((Some(hash), fault))
    }

    /// Has a log wait for its token; gives why, where it is known already that it does so in vain.
    pub(super) fn shut(&mut self, log: LogId, under: Under) -> Option<TokenFault> {
        self.shut.entry(under).or_default().insert(log);
        self.fault(under)
    }

    /// Whether a report of this would say something new.
    pub(super) fn is_news(&mut self, under: Under, fault: Option<TokenFault>) -> bool {
        let is_planned = under.is_none_or(|hash| self.known.contains_key(&hash));
        is_planned && self.told.insert(under, fault) != Some(fault)
    }

    /// Whether a log under this may be opened now.
    pub(super) fn opens(&self, under: Under) -> bool {
        !self.wanted || under.is_some() && under == self.current
    }

    /// Why a log under this stays closed.
    pub(super) fn fault(&self, under: Under) -> Option<TokenFault> {
        match under {
            None => self.wanted.then_some(TokenFault::Missing),
            Some(hash) => self.known.get(&hash)?.fault,
        }
    }

    /// The logs that wait for a token.
    pub(super) fn closed(&self, under: Under) -> BTreeSet<LogId> {
        self.shut.get(&under).cloned().unwrap_or_default()
    }

    /// When tokens that were refused are shown again.
    pub(super) fn due(&self) -> impl Iterator<Item = Instant> {
        let waited = self.shut.keys().flatten().filter_map(|hash| self.known.get(hash));
        waited.filter_map(|known| known.again)
    }

    /// Why none was taken on this connection, if none waits to be shown or answered.
    pub(super) fn shut_out(&self) -> Option<TokenFault> {
        let is_over = self.wanted && !self.is_up && self.asked.is_none();
        let fault = self.known.values().find_map(|known| known.fault);
        is_over.then(|| fault.unwrap_or(TokenFault::Missing))
    }

    /// Whether a token is there that no relay was shown.
    pub(super) fn has_new(&self) -> bool {
        self.known.values().any(|known| !known.was_shown)
    }

    pub(super) fn are_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }
}

/// What an entry is refused with that can't be appended because of this.
pub(super) fn refusal(fault: TokenFault) -> Refusal {
    match fault {
        TokenFault::Missing => Refusal::TokenNeeded,
        TokenFault::Refused => Refusal::TokenInvalid,
        TokenFault::Spent => Refusal::TokenSpent { retry_ms: 0 },
    }
}
