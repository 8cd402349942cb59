//! Tokens by which programs of this machine use the local API: what each is for, whether it holds, and how fast
//! it may send.
//!
//! > Where it is not said that a program may, it may not. Of groups that a token is not for its program learns nothing, not
//! > even whether they are.
//!
//! docs/decisions/0040-programs-with-tokens.md.

use std::collections::{BTreeMap, BTreeSet};

use blake2::{Blake2s256, Digest};
use protocol::{
    group::Group,
    ids::{GroupId, Timestamp},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Core, VerbError, cursors, step::random};
use crate::{
    api::types::{AccessView, GrantAccess, GrantedAccess, GroupRef, Scope, VERSION},
    store::{AccessRow, StoreError, hex, rfc3339},
};

/// How many tokens there may be.
const TOKENS: usize = 64;
/// Groups that one may be for.
const GROUPS: usize = 64;
/// Messages in a minute, where nothing else is said, and at most.
const RATE: [u32; 2] = [60, 6_000];
/// The longest that one holds, in seconds: ten years.
const LASTS: u64 = 10 * 365 * 24 * 60 * 60;
/// What a token begins with, so that whoever finds one knows what it is.
pub const PREFIX: &str = "wattle_";

/// Why a program was not let in, or a token not made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No token, one that never was, one that has ended.
    #[error("this is no token of this node, or it has ended")]
    Unknown,
    /// It is for something else.
    #[error("this token is not for that")]
    NotForThat,
    /// It is not for that group, if there is one.
    #[error("this token is for no group \"{0}\"")]
    OtherGroup(String),
    /// It says too much.
    #[error("this token may send {rate} messages in a minute: the next in {} s", .wait_ms.div_ceil(1000))]
    TooFast {
        /// Messages in a minute.
        rate: u32,
        /// When the next may be sent, in milliseconds.
        wait_ms: u64,
    },
    /// What can't be a label.
    #[error(
        "a token's label has 1 to 32 letters of a to z, digits, dots, dashes and underscores, and begins with a letter or digit"
    )]
    BadLabel,
    /// There is one of that label.
    #[error("there is a token \"{0}\" already")]
    LabelTaken(String),
    /// There is none.
    #[error("there is no token \"{0}\"")]
    NoSuch(String),
    /// What can't be.
    #[error("a token may do something, in 1 to {GROUPS} groups or all, for ten years at most, with 1 to {} messages in a minute", RATE[1])]
    BadTerms,
    /// So many there are.
    #[error("there are {TOKENS} tokens already")]
    TooMany,
}

impl AccessError {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "no-access",
            Self::NotForThat => "out-of-scope",
            Self::OtherGroup(_) => "no-such-group",
            Self::TooFast { .. } => "too-fast",
            Self::BadLabel => "bad-token-label",
            Self::LabelTaken(_) => "token-label-taken",
            Self::NoSuch(_) => "no-such-token",
            Self::BadTerms => "bad-token-terms",
            Self::TooMany => "too-many-tokens",
        }
    }

    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Unknown | Self::NotForThat | Self::OtherGroup(_) => {
                "Ask the node's owner, who makes tokens with `wattle token new`."
            }
            Self::TooFast { .. } => {
                "Wait, or send less: `--block` sends several lines as one message."
            }
            Self::BadLabel | Self::LabelTaken(_) => "Choose another label.",
            Self::NoSuch(_) => "`wattle token list` shows them.",
            Self::BadTerms => "`wattle token new --help` says what may be said.",
            Self::TooMany => "`wattle token revoke LABEL` ends one.",
        }
    }

    pub(super) const fn exit(&self) -> u8 {
        match self {
            Self::BadLabel | Self::LabelTaken(_) | Self::BadTerms => 2,
            Self::Unknown | Self::NotForThat => 5,
            Self::OtherGroup(_) | Self::NoSuch(_) => 6,
            Self::TooFast { .. } | Self::TooMany => 9,
        }
    }
}

/// All tokens, and how much of its rate each has left.
#[derive(Default)]
pub(super) struct Accesses {
    rows: Vec<AccessRow>,
    /// By label: thousandths of a message, and as of when.
    left: BTreeMap<String, (u64, Timestamp)>,
}

/// What the program that asks may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    hash: [u8; 32],
    may: u8,
    groups: Option<BTreeSet<GroupId>>,
}

impl Permit {
    /// Whether this is allowed, in some group.
    #[must_use]
    pub const fn may(&self, scope: Scope) -> bool {
        self.may & bit(scope) != 0
    }

    /// Whether it may know of a group.
    #[must_use]
    pub fn is_for(&self, group: &GroupId) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.contains(group))
    }

    /// Whether it is for some groups alone.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.groups.is_some()
    }
}

impl Core {
    /// Takes up what is stored.
    pub(super) fn load_access(&mut self) -> Result<(), StoreError> {
        self.accesses.rows = self.store.read(|tx| tx.accesses())?;
        Ok(())
    }

    /// A group is here no more: no token is for it.
    pub(super) fn forget_access(&mut self, group: GroupId) {
        let bound = self.accesses.rows.iter_mut().filter_map(|row| row.groups.as_mut());
        for groups in bound {
            groups.remove(&group);
        }
    }

    /// All tokens.
    pub fn accesses(&mut self, now: Timestamp) -> Vec<AccessView> {
        self.accesses.rows.iter().map(|row| self.access_view(row, now)).collect()
    }

    /// Makes one.
    pub fn grant(
        &mut self,
        asked: &GrantAccess,
        now: Timestamp,
    ) -> Result<GrantedAccess, VerbError> {
        let label = asked.label.clone();
        if !cursors::is_name(&label) {
            return Err(AccessError::BadLabel.into());
        }
        if self.accesses.rows.iter().any(|row| row.label == label) {
            return Err(AccessError::LabelTaken(label).into());
        }
        if self.accesses.rows.len() >= TOKENS {
            return Err(AccessError::TooMany.into());
        }
        let may = asked.may.iter().fold(0, |may, scope| may | bits(*scope));
        let groups = asked.groups.as_ref().map(|named| {
            named.iter().map(|group| self.find_group(group)).collect::<Result<BTreeSet<_>, _>>()
        });
        let groups = groups.transpose()?;
        let [rate, most] = RATE;
        let rate = asked.rate.unwrap_or(rate);
        let is_good = may != 0
            && groups.as_ref().is_none_or(|groups| (1..=GROUPS).contains(&groups.len()))
            && (1..=most).contains(&rate)
            && asked.expires_in.is_none_or(|lasts| (1..=LASTS).contains(&lasts));
        if !is_good {
            return Err(AccessError::BadTerms.into());
        }
        let secret = Zeroizing::new(random::<32>(&mut self.rng));
        let token = format!("{PREFIX}{}", hex(secret.as_slice()));
        let until = asked.expires_in.map(|lasts| Timestamp(now.0 + lasts * 1000));
        let row = AccessRow { hash: hash(&token), label, may, groups, rate, made: now, until };
        self.store.transaction(|tx| tx.put_access(&row))?;
        let access = self.access_view(&row, now);
        self.accesses.rows.push(row);
        self.accesses.rows.sort_by(|one, other| one.label.cmp(&other.label));
        Ok(GrantedAccess { v: VERSION, access, token })
    }

    /// Ends one: whoever reads by it is told no more.
    pub fn revoke_access(&mut self, label: &str) -> Result<(), VerbError> {
        if !self.store.transaction(|tx| tx.drop_access(label))? {
            return Err(AccessError::NoSuch(label.into()).into());
        }
        self.accesses.rows.retain(|row| row.label != label);
        self.accesses.left.remove(label);
        Ok(())
    }

    /// What the program with this token may do.
    pub fn permit(&self, token: &str, now: Timestamp) -> Result<Permit, AccessError> {
        let asked = hash(token);
        // All are looked at: how long that takes tells nobody which it was.
        let mut found = None;
        for row in &self.accesses.rows {
            if bool::from(row.hash.ct_eq(&asked)) && !is_over(row, now) {
                found = Some(row);
            }
        }
        let row = found.ok_or(AccessError::Unknown)?;
        Ok(Permit { hash: row.hash, may: row.may, groups: row.groups.clone() })
    }

    /// Whether that still is so.
    #[must_use]
    pub fn still_permits(&self, permit: &Permit, now: Timestamp) -> bool {
        let of = |row: &&AccessRow| row.hash == permit.hash && !is_over(row, now);
        let row = self.accesses.rows.iter().find(of);
        row.is_some_and(|row| row.groups == permit.groups)
    }

    /// The group that is meant, of those that a token is for.
    pub fn find_permitted(&self, permit: &Permit, asked: &str) -> Result<GroupId, VerbError> {
        if !permit.is_bound() {
            return self.find_group(asked);
        }
        let theirs = |group: &&Group| permit.is_for(&group.id());
        Self::find_group_among(asked, &self.groups.values().filter(theirs).collect::<Vec<_>>())
            .map_err(|_| AccessError::OtherGroup(asked.chars().take(80).collect()).into())
    }

    /// Counts a message of a program's; refuses it where it is one too many.
    pub fn count_sent(&mut self, permit: &Permit, now: Timestamp) -> Result<(), AccessError> {
        let row = self.accesses.rows.iter().find(|row| row.hash == permit.hash);
        let Some(row) = row else { return Err(AccessError::Unknown) };
        let (rate, full) = (u64::from(row.rate), u64::from(row.rate) * 1000);
        let (left, at) = self.accesses.left.get(&row.label).copied().unwrap_or((full, now));
        // So many thousandths come back in a millisecond: `rate` in a minute.
        let back = now.0.saturating_sub(at.0).saturating_mul(rate) / 60;
        let left = left.saturating_add(back).min(full);
        let Some(rest) = left.checked_sub(1000) else {
            let wait_ms = ((1000 - left) * 60).div_ceil(rate);
            return Err(AccessError::TooFast { rate: row.rate, wait_ms });
        };
        self.accesses.left.insert(row.label.clone(), (rest, now));
        Ok(())
    }

    fn access_view(&self, row: &AccessRow, now: Timestamp) -> AccessView {
        let group = |id: &GroupId| GroupRef {
            id: id.to_string(),
            name: self.groups.get(id).map(|it| it.policy().name.clone()).unwrap_or_default(),
        };
        let all = [Scope::Read, Scope::Send, Scope::Admin];
        AccessView {
            v: VERSION,
            label: row.label.clone(),
            may: all.into_iter().filter(|scope| row.may & bit(*scope) != 0).collect(),
            groups: row.groups.as_ref().map(|groups| groups.iter().map(group).collect()),
            rate: row.rate,
            made: rfc3339(row.made),
            until: row.until.map(rfc3339),
            ended: is_over(row, now),
        }
    }
}

/// What is stored of a token.
fn hash(token: &str) -> [u8; 32] {
    Blake2s256::digest(token.as_bytes()).into()
}

fn is_over(row: &AccessRow, now: Timestamp) -> bool {
    row.until.is_some_and(|until| until <= now)
}

const fn bit(scope: Scope) -> u8 {
    match scope {
        Scope::Read => 1,
        Scope::Send => 2,
        Scope::Admin => 4,
    }
}

/// With what it brings.
const fn bits(scope: Scope) -> u8 {
    match scope {
        Scope::Admin => 7,
        scope => bit(scope),
    }
}
