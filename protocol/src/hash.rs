//! BLAKE2b (RFC 7693) as the one primitive for hashes, key derivation and commitments.
//!
//! Every use has a label of its own in BLAKE2b's 16-byte personalisation field, so that no output
//! of one use can stand for another. All labels are listed here.

use blake2::{
    Blake2bMac,
    digest::{FixedOutput, Update, consts},
};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $label:literal;)*) => {
        /// What a hash or a derived key is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Label { $($(#[$doc])* #[doc = $label] $name,)* }

        impl Label {
            /// The personalisation: ASCII, at most 16 bytes.
            #[must_use]
            pub const fn person(self) -> &'static [u8] {
                match self { $(Self::$name => $label.as_bytes(),)* }
            }

            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

labels! {
    Op = "wt1 op id";
    Roster = "wt1 roster";
    BundleContext = "wt1 bundle ctx";
    BundlePage = "wt1 bundle page";
    BundlePages = "wt1 bundle pages";
    SeedCommit = "wt1 seed commit";
    ChainInit = "wt1 chain init";
    ChainStep = "wt1 chain step";
    MessageSalt = "wt1 msg salt";
    MessageKey = "wt1 msg key";
    HeaderKey = "wt1 hdr key";
    Message = "wt1 msg id";
    Content = "wt1 content";
    SlotKey = "wt1 slot key";
    SlotKem = "wt1 slot kem";
    PairInit = "wt1 pair init";
    PairStep = "wt1 pair step";
    PairKey = "wt1 pair mk";
    TopicHeader = "wt1 ts hdr";
    TopicControl = "wt1 ts ctl";
    TopicBox = "wt1 ts box";
    TopicCommit = "wt1 ts commit";
    ControlKey = "wt1 ctl key";
    LogWrite = "wt1 log write";
    LogRead = "wt1 log read";
    LogTrim = "wt1 log trim";
    Log = "wt1 log id";
    Topic = "wt1 topic";
    Envelope = "wt1 env id";
    Invite = "wt1 inv id";
    InvitePsk = "wt1 inv psk";
    InviteSign = "wt1 inv sig";
    InviteSeal = "wt1 inv enc";
    InviteWrite = "wt1 inv boxw";
    InviteRead = "wt1 inv boxr";
    InviteMail = "wt1 inv mail";
    JoinRequest = "wt1 join req";
    LetterKey = "wt1 letter key";
    LetterPart = "wt1 letter part";
    Fingerprint = "wt1 fp";
    Audit = "wt1 audit";
    Card = "wt1 card id";
    Session = "wt1 session";
    NoiseRandom = "wt1 noise rnd";
    NoiseDatagrams = "wt1 noise dgram";
    Entry = "wt1 entry id";
    RelayPeer = "wt1 relay peer";
    RelayToken = "wt1 relay token";
    EntrySum = "wt1 entry sum";
    Evidence = "wt1 evidence";
    InboxSeal = "wt1 inbox seal";
    InboxEphemeral = "wt1 inbox eph";
    Lan = "wt1 lan";
    File = "wt1 file id";
    FileSeal = "wt1 file seal";
    FileLeaf = "wt1 file leaf";
    FileNode = "wt1 file node";
    FileRoot = "wt1 file root";
    Circuit = "wt1 circuit";
}

macro_rules! output {
    ($(#[$doc:meta])* $name:ident, $size:ty, $len:literal) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(key: &[u8], label: Label, parts: &[&[u8]]) -> [u8; $len] {
            let key = if key.is_empty() { None } else { Some(key) };
            // Keys are at most 64 bytes, labels at most 16. (Clippy doesn't look into the macro.)
            let mut mac =
                Blake2bMac::<$size>::new_with_salt_and_personal(key, &[], label.person())
                    .expect("bounded by the types of the callers");
            for part in parts {
                mac.update(part);
            }
            mac.finalize_fixed().into()
        }
    };
}

output! {
    /// 16 bytes derived from `key` (empty: unkeyed; at most 64 bytes) and the joined `parts`.
    kdf16, consts::U16, 16
}
output! {
    /// 20 bytes derived from `key` (empty: unkeyed; at most 64 bytes) and the joined `parts`.
    kdf20, consts::U20, 20
}
output! {
    /// 32 bytes derived from `key` (empty: unkeyed; at most 64 bytes) and the joined `parts`.
    kdf32, consts::U32, 32
}
output! {
    /// 64 bytes derived from `key` (empty: unkeyed; at most 64 bytes) and the joined `parts`.
    kdf64, consts::U64, 64
}

/// BLAKE2b-256, unkeyed, over the joined `parts`.
#[must_use]
pub fn hash32(label: Label, parts: &[&[u8]]) -> [u8; 32] {
    kdf32(&[], label, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_and_differ() {
        for (i, label) in Label::ALL.iter().enumerate() {
            assert!(label.person().len() <= 16, "{label:?}");
            assert!(Label::ALL[..i].iter().all(|other| other.person() != label.person()));
        }
    }

    #[test]
    fn label_key_and_length_all_change_the_output() {
        let base = kdf32(b"key", Label::Op, &[b"data"]);
        assert_eq!(base, kdf32(b"key", Label::Op, &[b"da", b"ta"]));
        assert_ne!(base, kdf32(b"key", Label::Roster, &[b"data"]));
        assert_ne!(base, kdf32(b"other", Label::Op, &[b"data"]));
        assert_ne!(base[..16], kdf16(b"key", Label::Op, &[b"data"]));
    }
}
