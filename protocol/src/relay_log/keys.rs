//! Capabilities for a log, and the proof of one to a relay.
//!
//! > A proof holds for one relay, one connection, one log and one role. Overheard, it is worth
//! > nothing anywhere else.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::{
    hash::{Label, hash32, kdf20},
    ids::LogId,
    sign::{Context, Signature, SigningSecret, verify},
};

/// What a member holds of a log: its public keys, and the secrets of the roles that it may play.
#[derive(Clone)]
pub struct LogKeys {
    publics: LogPublics,
    write: Option<SigningSecret>,
    read: Option<SigningSecret>,
    trim: Option<SigningSecret>,
}

impl LogKeys {
    /// All capabilities of a log, from 32-byte Ed25519 seeds. Without `trim` nobody may trim.
    #[must_use]
    pub fn from_seeds(write: [u8; 32], read: [u8; 32], trim: Option<[u8; 32]>) -> Self {
        let write = SigningSecret::from_seed(&write);
        let read = SigningSecret::from_seed(&read);
        let trim = trim.map(|seed| SigningSecret::from_seed(&seed));
        let trims = trim.as_ref().map_or([0; 32], SigningSecret::public);
        let publics = LogPublics { write: write.public(), read: read.public(), trim: trims };
        Self { publics, write: Some(write), read: Some(read), trim }
    }

    /// The write capability alone, of a log that somebody else reads: another member's inbox.
    #[must_use]
    pub fn write_only(write: [u8; 32], read: [u8; 32], trim: [u8; 32]) -> Self {
        let write = SigningSecret::from_seed(&write);
        let publics = LogPublics { write: write.public(), read, trim };
        Self { publics, write: Some(write), read: None, trim: None }
    }

    /// Signs that this side may play `role`; `None` where its secret is not held.
    #[must_use]
    pub fn prove(&self, role: Role, challenge: &Challenge) -> Option<Proof> {
        let secret = match role {
            Role::Write => self.write.as_ref(),
            Role::Read => self.read.as_ref(),
            Role::Trim => self.trim.as_ref(),
        }?;
        let parts = challenge.parts();
        let id = self.id();
        let signature =
            secret.sign(Context::Log, &[parts[0], parts[1], id.as_bytes(), &[role as u8]]);
        Some(Proof { role, signature })
    }

    /// Whether the secret for `role` is held.
    #[must_use]
    pub fn allows(&self, role: Role) -> bool {
        match role {
            Role::Write => self.write.is_some(),
            Role::Read => self.read.is_some(),
            Role::Trim => self.trim.is_some(),
        }
    }

    /// The public halves.
    #[must_use]
    pub const fn publics(&self) -> LogPublics {
        self.publics
    }

    /// The log's id.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.publics.id()
    }
}

impl fmt::Debug for LogKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogKeys").field(&self.id()).finish()
    }
}

/// The public capability keys that a log's id commits to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct LogPublics {
    /// Checks who may append.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub write: [u8; 32],
    /// Checks who may follow.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub read: [u8; 32],
    /// Checks who may trim; all zeros: nobody.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub trim: [u8; 32],
}

impl LogPublics {
    /// The log's id: BLAKE2b-160 over the three keys.
    #[must_use]
    pub fn id(&self) -> LogId {
        LogId(kdf20(&[], Label::Log, &[&self.write, &self.read, &self.trim]))
    }

    /// Checks a proof made for this relay and connection.
    pub fn check(&self, proof: &Proof, challenge: &Challenge) -> Result<Role, BadProof> {
        let public = match proof.role {
            Role::Write => &self.write,
            Role::Read => &self.read,
            Role::Trim if self.trim == [0; 32] => return Err(BadProof),
            Role::Trim => &self.trim,
        };
        let parts = challenge.parts();
        let id = self.id();
        verify(
            public,
            Context::Log,
            &[parts[0], parts[1], id.as_bytes(), &[proof.role as u8]],
            &proof.signature,
        )
        .map_err(|_| BadProof)?;
        Ok(proof.role)
    }
}

/// What a connection may do with a log. The numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Append entries.
    #[n(0)]
    Write = 0,
    /// Follow them.
    #[n(1)]
    Read = 1,
    /// Delete entries that were read.
    #[n(2)]
    Trim = 2,
}

/// A signature by a role's key over the relay, the connection, the log and the role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Proof {
    /// The role claimed.
    #[n(0)]
    pub role: Role,
    /// `wt1/logproof` over relay hash ‖ nonce ‖ log id ‖ role byte.
    #[n(1)]
    pub signature: Signature,
}

/// What every proof on one connection is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    relay: [u8; 32],
    nonce: [u8; 32],
}

impl Challenge {
    /// The challenge of the relay with these PeerId bytes, on the connection with this nonce.
    #[must_use]
    pub fn new(relay_peer: &[u8], nonce: [u8; 32]) -> Self {
        Self { relay: hash32(Label::RelayPeer, &[relay_peer]), nonce }
    }

    fn parts(&self) -> [&[u8]; 2] {
        [&self.relay, &self.nonce]
    }
}

/// A proof that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct BadProof;

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn keys() -> LogKeys {
        LogKeys::from_seeds([1; 32], [2; 32], None)
    }

    #[test]
    fn a_proof_holds_for_its_relay_connection_log_and_role_only() {
        let here = Challenge::new(b"relay", [7; 32]);
        let proof = keys().prove(Role::Write, &here).unwrap();
        assert_eq!(keys().publics().check(&proof, &here), Ok(Role::Write));

        let elsewhere = Challenge::new(b"other relay", [7; 32]);
        assert_eq!(keys().publics().check(&proof, &elsewhere), Err(BadProof));
        let later = Challenge::new(b"relay", [8; 32]);
        assert_eq!(keys().publics().check(&proof, &later), Err(BadProof));
        let other = LogKeys::from_seeds([1; 32], [3; 32], None);
        assert_eq!(other.publics().check(&proof, &here), Err(BadProof));
        let promoted = Proof { role: Role::Read, ..proof };
        assert_eq!(keys().publics().check(&promoted, &here), Err(BadProof));
    }

    #[test]
    fn equal_keys_for_two_roles_still_need_two_proofs() {
        let same = LogKeys::from_seeds([1; 32], [1; 32], None);
        let here = Challenge::new(b"relay", [7; 32]);
        let proof = same.prove(Role::Write, &here).unwrap();
        let promoted = Proof { role: Role::Read, ..proof };
        assert_eq!(same.publics().check(&promoted, &here), Err(BadProof));
    }

    #[test]
    fn the_id_depends_on_every_key() {
        let id = keys().id();
        assert_ne!(id, LogKeys::from_seeds([9; 32], [2; 32], None).id());
        assert_ne!(id, LogKeys::from_seeds([1; 32], [9; 32], None).id());
        assert_ne!(id, LogKeys::from_seeds([1; 32], [2; 32], Some([9; 32])).id());
    }

    #[test]
    fn who_may_only_write_names_the_same_log_and_proves_nothing_more() {
        let all = LogKeys::from_seeds([1; 32], [2; 32], Some([3; 32]));
        let publics = all.publics();
        let writer = LogKeys::write_only([1; 32], publics.read, publics.trim);
        let here = Challenge::new(b"relay", [7; 32]);
        assert_eq!(writer.id(), all.id());
        assert!(writer.prove(Role::Write, &here).is_some());
        assert!(writer.prove(Role::Read, &here).is_none() && !writer.allows(Role::Read));
    }

    #[test]
    fn nobody_trims_a_log_whose_trim_key_is_zeros() {
        let here = Challenge::new(b"relay", [7; 32]);
        let owner = LogKeys::from_seeds([1; 32], [2; 32], Some([3; 32]));
        let proof = owner.prove(Role::Trim, &here).unwrap();
        assert_eq!(owner.publics().check(&proof, &here), Ok(Role::Trim));
        assert!(keys().prove(Role::Trim, &here).is_none());
        assert_eq!(keys().publics().check(&proof, &here), Err(BadProof));
    }

    #[test]
    fn keys_don_t_print_their_secrets() {
        let printed = format!("{:?}", keys());
        assert!(printed.len() < 40, "{printed}");
    }
}
