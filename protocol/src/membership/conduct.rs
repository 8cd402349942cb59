//! How a group behaves: switches that its admins set. An op of kind 13, which older nodes keep as one of a kind
//! that they don't know: so any args are formed, and whether it counts is asked of the result alone.
//!
//! ```text
//! args  [typing bool, receipts bool, expires_s u32 | null, delete_others bool, pin_all bool, …]
//! ```
//!
//! > Whether an op of kind 13 is in the set, and what the set comes to beside [`Resolution::conduct`], is the same
//! > for a node that knows the kind and for one that doesn't.
//!
//! [`Resolution::conduct`]: super::Resolution::conduct

use minicbor::{Decoder, decode};

use super::kind::Kind;
use crate::{
    codec,
    limits::{EXPIRES_MAX_S, EXPIRES_MIN_S},
};

/// The switches of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conduct {
    /// Whether nodes tell that somebody types.
    pub typing: bool,
    /// Whether nodes may tell what was read.
    pub receipts: bool,
    /// In seconds: for how long whoever receives a message is asked to keep it; `None`: no end. Each sender says it
    /// in its messages. Within [`EXPIRES_MIN_S`] and [`EXPIRES_MAX_S`].
    pub expires_s: Option<u32>,
    /// Whether admins may delete what others said.
    pub delete_others: bool,
    /// Whether every member may pin messages; else admins.
    pub pin_all: bool,
}

/// The number of the kind.
pub(super) const CONDUCT: u8 = 13;

/// The fields that are read: a later version may add some behind them.
const FIELDS: u64 = 5;

impl Default for Conduct {
    fn default() -> Self {
        Self {
            typing: true,
            receipts: false,
            expires_s: None,
            delete_others: false,
            pin_all: false,
        }
    }
}

impl Conduct {
    /// The op that sets it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let Self { typing, receipts, expires_s, delete_others, pin_all } = *self;
        // A tuple is an array of as many, and null at its end would be left out of a derived one.
        let args = codec::encode(&(typing, receipts, expires_s, delete_others, pin_all));
        Kind::Other { kind: CONDUCT, args }
    }

    /// Whether it is within its bounds.
    #[must_use]
    pub fn check(&self) -> bool {
        self.expires_s.is_none_or(|it| (EXPIRES_MIN_S..=EXPIRES_MAX_S).contains(&it))
    }

    /// What an op of this kind sets; `None` where it is of another kind, or sets nothing that could be read.
    #[must_use]
    pub fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Other { kind: CONDUCT, args } if codec::is_canonical(args) => {
                read(args).ok().filter(Self::check)
            }
            _ => None,
        }
    }
}

fn read(args: &[u8]) -> Result<Conduct, decode::Error> {
    let mut d = Decoder::new(args);
    if d.array()?.is_none_or(|fields| fields < FIELDS) {
        return Err(decode::Error::message("fields"));
    }
    Ok(Conduct {
        typing: d.bool()?,
        receipts: d.bool()?,
        expires_s: d.decode()?,
        delete_others: d.bool()?,
        pin_all: d.bool()?,
    })
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::{super::fixture::*, *};
    use crate::{
        ids::OpId,
        membership::{
            Op, OpSet, Resolution,
            set::{InsertError, Inserted},
        },
        sign::SigningSecret,
    };

    fn lasting(seconds: u32) -> Conduct {
        Conduct { expires_s: Some(seconds), ..Conduct::default() }
    }

    /// The same op as a node of before sees it: of a kind that nobody knows.
    fn unknown(op: &Op, who: &SigningSecret) -> Op {
        let mut body = op.body().clone();
        if let Kind::Other { kind, .. } = &mut body.kind {
            *kind = 99;
        }
        Op::sign(body, who)
    }

    fn args(args: &[u8]) -> Kind {
        Kind::Other { kind: CONDUCT, args: args.into() }
    }

    /// What there is beside the conduct.
    fn rest(of: &Resolution) -> Resolution {
        Resolution { conduct: Conduct::default(), conduct_by: None, ..of.clone() }
    }

    /// An op by `who` under the grant `cap`, whether it may or not.
    fn forced(set: &OpSet, who: &SigningSecret, cap: Option<OpId>, kind: Kind) -> Op {
        let mut body = set.next(who.id(), refresh(None), NOW).unwrap();
        (body.cap, body.kind) = (cap, kind);
        Op::from_bytes(Op::sign(body, who).as_bytes()).unwrap()
    }

    #[test]
    fn what_is_set_is_read_back_and_what_a_later_version_adds_is_passed_over() {
        let all = Conduct {
            typing: false,
            receipts: true,
            expires_s: Some(EXPIRES_MIN_S),
            delete_others: true,
            pin_all: true,
        };
        for conduct in [Conduct::default(), lasting(EXPIRES_MAX_S), all] {
            assert_eq!(Conduct::of(&conduct.kind()), Some(conduct));
        }
        assert_eq!(
            Conduct::default().kind(),
            args(&[0x85, 0xf5, 0xf4, 0xf6, 0xf4, 0xf4]),
            "null is written, not left out"
        );
        let more = args(&[0x87, 0xf4, 0xf5, 0x18, 60, 0xf5, 0xf5, 0x81, 0x01, 0xf6]);
        assert_eq!(Conduct::of(&more), Some(all));
    }

    #[test]
    fn what_cannot_be_read_sets_nothing() {
        let bad: [&[u8]; 8] = [
            &[0xf6],
            &[0x80],
            &[0x84, 0xf5, 0xf4, 0xf6, 0xf4],
            &[0x85, 0xf5, 0xf4, 0x18, 59, 0xf4, 0xf4],
            &[0x85, 0xf5, 0xf4, 0x1a, 0x01, 0xe1, 0x33, 0x81, 0xf4, 0xf4],
            &[0x85, 0x01, 0xf4, 0xf6, 0xf4, 0xf4],
            &[0x9f, 0xf5, 0xf4, 0xf6, 0xf4, 0xf4, 0xff],
            &[0xa1, 0x01, 0xf5],
        ];
        for bytes in bad {
            assert_eq!(Conduct::of(&args(bytes)), None, "{bytes:x?}");
        }
        let good = [0x85, 0xf5, 0xf4, 0xf6, 0xf4, 0xf4];
        assert_eq!(Conduct::of(&Kind::Other { kind: 14, args: good.into() }), None);
    }

    #[test]
    fn an_admin_sets_it_and_of_two_beside_one_another_the_seniors_counts() {
        let (a, b) = (person(1), person(2));
        let mut set = group(&a);
        assert_eq!(set.resolve().conduct, Conduct::default());
        act(&mut set, &a, admit(&b));
        act(&mut set, &a, promote(&b));
        let mut other = set.clone();
        act(&mut set, &a, lasting(100).kind());
        act(&mut other, &b, refresh(None));
        act(&mut other, &b, lasting(200).kind());
        merge(&mut set, &other);
        merge(&mut other, &set);
        assert_eq!((set.resolve().conduct, set.resolve().conduct_by), (lasting(100), Some(a.id())));
        assert_eq!(other.resolve(), set.resolve());
        act(&mut set, &b, lasting(300).kind());
        assert_eq!(set.resolve().conduct, lasting(300));
        assert_eq!(set.resolve().policy, policy("Allotment"));
    }

    #[test]
    fn what_has_no_effect_hides_nothing_that_has() {
        let (a, b) = (person(1), person(2));
        let mut set = group(&a);
        act(&mut set, &a, admit(&b));
        act(&mut set, &a, lasting(100).kind());
        let (root, member) =
            (set.iter().next().unwrap().id(), set.resolve().members[&b.id()].grant);
        let before = set.resolve().clone();
        for (who, cap, kind) in [
            (&b, Some(member), lasting(200).kind()),
            (&b, None, lasting(200).kind()),
            (&a, None, lasting(200).kind()),
            (&a, Some(root), args(&[0xf6])),
            (&a, Some(root), args(&[0x85, 0xf5, 0xf4, 0x01, 0xf4, 0xf4])),
        ] {
            let op = forced(&set, who, cap, kind);
            assert_eq!(set.insert(op.clone()), Ok(Inserted::New(vec![op.id()])));
            assert_eq!(set.resolve(), &before);
        }
        let stolen = forced(&set, &b, Some(root), lasting(200).kind());
        assert_eq!(set.insert(stolen), Err(InsertError::NotFormed));
    }

    #[test]
    fn a_removed_admins_counts_no_more_unless_the_removal_follows_it() {
        let (a, b) = (person(1), person(2));
        let mut set = group(&a);
        act(&mut set, &a, admit(&b));
        act(&mut set, &a, promote(&b));
        act(&mut set, &b, lasting(100).kind());
        let mut other = set.clone();
        act(&mut set, &a, remove(b.id(), 1));
        assert_eq!(set.resolve().conduct, lasting(100));
        act(&mut other, &b, lasting(200).kind());
        assert_eq!(other.resolve().conduct, lasting(200));
        merge(&mut set, &other);
        assert_eq!(set.resolve().conduct, lasting(100));
        assert!(set.resolve().void.is_empty(), "an older node counts it to no void ones");
    }

    #[test]
    fn who_is_no_admin_signs_none_and_nobody_one_out_of_bounds() {
        let (a, b) = (person(1), person(2));
        let mut set = group(&a);
        act(&mut set, &a, admit(&b));
        assert!(set.next(b.id(), lasting(100).kind(), NOW).is_err());
        assert!(set.next(a.id(), lasting(59).kind(), NOW).is_err());
        assert!(set.next(a.id(), args(&[0xf6]), NOW).is_err());
        assert!(set.next(a.id(), lasting(60).kind(), NOW).is_ok());
    }

    /// By turns of an admin, a plain member and a stranger to the kind's form: what each kind of node takes in,
    /// and what that comes to beside the conduct.
    #[test]
    fn an_older_node_takes_and_refuses_the_same_and_comes_to_the_same() {
        let (a, b, c) = (person(1), person(2), person(3));
        let mut set = group(&a);
        act(&mut set, &a, admit(&b));
        act(&mut set, &a, promote(&b));
        act(&mut set, &a, admit(&c));
        let root = set.iter().next().unwrap().id();
        let now = set.resolve().clone();
        let grants =
            [Some(root), now.members[&b.id()].admin, Some(now.members[&c.id()].grant), None];
        let kinds = [
            lasting(100).kind(),
            lasting(1).kind(),
            args(&[0xf6]),
            args(&[0x80]),
            args(&[0x9f, 0xff]),
            args(&[0x18, 0x01]),
            args(&[0x87, 0xf4, 0xf5, 0x18, 60, 0xf5, 0xf5, 0x81, 0x01, 0xf6]),
        ];
        let (mut taken, mut refused) = (0, 0);
        for who in [&a, &b, &c, &person(4)] {
            for cap in grants {
                for kind in &kinds {
                    let by = if now.is_member(&who.id()) { who } else { &a };
                    let mut body = set.next(by.id(), refresh(None), NOW).unwrap();
                    (body.author, body.cap, body.kind) = (who.id(), cap, kind.clone());
                    let op = Op::sign(body, who);
                    let old = unknown(&op, who);
                    let reads = |op: &Op| Op::from_bytes(op.as_bytes()).map(|_| ());
                    assert_eq!(reads(&op), reads(&old));
                    let (mut new, mut before) = (set.clone(), set.clone());
                    let (new_is, old_is) = (new.insert(op.clone()), before.insert(old.clone()));
                    assert_eq!(new_is.is_ok(), old_is.is_ok(), "{op:?}");
                    if new_is.is_err() {
                        refused += 1;
                        assert_eq!(new_is.err(), old_is.err());
                        assert_eq!(new.heads(), before.heads());
                        continue;
                    }
                    taken += 1;
                    assert_eq!((new.heads(), before.heads()), (vec![op.id()], vec![old.id()]));
                    assert_eq!(rest(new.resolve()), *before.resolve());
                    // On top of it both go on alike: an honest op that follows is in both sets.
                    act(&mut new, &b, refresh(None));
                    act(&mut before, &b, refresh(None));
                    assert_eq!(
                        new.resolve().roster(new.group()),
                        before.resolve().roster(set.group())
                    );
                }
            }
        }
        assert!(taken > 0 && refused > 0);
    }
}
