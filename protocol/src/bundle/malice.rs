//! Bundles that no honest member makes, for the simulator.

use super::{Bundle, Context, HeadWire, Label, PageHash, SignedHead, codec, hash32};
use crate::endpoint::Endpoint;

/// The head of one bundle over a page whose odd slots are another's: these open for nobody.
pub(crate) fn mixed(one: &Bundle, other: &Bundle, me: &Endpoint) -> Bundle {
    let mut pages = one.pages.clone();
    for (page, with) in pages.iter_mut().zip(&other.pages) {
        let slot = page.len() / one.pages.len().max(1);
        let half = slot / 2;
        page[half..].copy_from_slice(&with[half..]);
    }
    let core = codec::encode(one.head.head());
    let context = hash32(Label::BundleContext, &[&core]);
    let hashes: alloc::vec::Vec<_> = pages.iter().map(|page| PageHash::of(page)).collect();
    let joined = PageHash::join(&hashes);
    let signature = me.identity().sign(Context::Bundle, &[&context, &PageHash::all(&joined)]);
    let bytes = codec::encode(&HeadWire { core, pages: joined, signature });
    let head = SignedHead { head: one.head.head().clone(), context, pages: hashes, bytes };
    Bundle { head, pages }
}
