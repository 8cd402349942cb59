//! Why something was refused: a closed set, each reason with its label and its words.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use protocol::relay_log::Refusal;

/// One table for the type, the labels of the metric and the words of the page.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $label:literal $words:literal;)+) => {
        /// Why something was refused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Why {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Why {
            /// All, in the order in which they are shown.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// As the metric's label has it.
            pub(crate) fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// For people.
            pub(crate) fn words(self) -> &'static str {
                match self { $(Self::$name => $words),+ }
            }
        }
    };
}

reasons! {
    /// As many connections or handshakes as may be, of all or of one PeerId.
    Connections "connections" "Too many connections";
    /// As many of one address.
    ConnectionsOfAddress "connections_of_address" "Too many connections from one address";
    /// Any, while memory is nearly used up.
    Memory "memory" "Memory nearly used up";
    /// One that stood, as memory stayed nearly used up.
    Shed "shed" "Closed, as memory stayed nearly used up";
    /// Any, while nearly as many files are open as may be.
    Files "files" "Open files nearly used up";
    /// No libp2p, or no proof of a key.
    Handshake "handshake" "Handshake failed or not finished";
    /// Bytes on a log stream that are no request.
    Protocol "protocol" "Not the protocol";
    /// A log at its quota.
    LogFull "log_full" "Log full";
    /// The store at its quota, or the disk nearly full.
    StoreFull "store_full" "Store or disk full";
    /// Too many requests or bytes for now.
    TooFast "too_fast" "Too fast";
    /// A capability that was not proven.
    Capability "capability" "No proof of a right to the log";
    /// An entry of another size than a bucket's.
    Size "size" "Entry of a wrong size";
    /// As many logs open as may be.
    Logs "logs" "Too many logs open";
    /// No token, or none that is good, where one is needed.
    Token "token" "No good token";
    /// What a token grants, used up.
    TokenSpent "token_spent" "Token's quota used up";
    /// The store can't say.
    Unavailable "unavailable" "Store not available";
    /// A place for circuits.
    Reservation "reservation" "No place for circuits";
    /// A circuit.
    Circuit "circuit" "No circuit";
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LogFull => Self::LogFull,
            Refusal::DiskFull => Self::StoreFull,
            Refusal::TooLarge | Refusal::NotBucket => Self::Size,
            Refusal::BadProof | Refusal::NoSuchHandle => Self::Capability,
            Refusal::TooManyLogs => Self::Logs,
            Refusal::RateLimited { .. } => Self::TooFast,
            Refusal::TokenNeeded | Refusal::TokenInvalid => Self::Token,
            Refusal::TokenSpent { .. } => Self::TokenSpent,
            Refusal::Unavailable => Self::Unavailable,
        }
    }
}

/// The label of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: Why,
}

impl EncodeLabelValue for Why {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.label().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_reasons_have_one_label_or_the_same_words() {
        let labels: BTreeSet<_> = Why::ALL.iter().map(|why| why.label()).collect();
        let words: BTreeSet<_> = Why::ALL.iter().map(|why| why.words()).collect();
        assert_eq!((labels.len(), words.len()), (Why::ALL.len(), Why::ALL.len()));
        assert!(labels.iter().all(|it| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')));
    }
}
