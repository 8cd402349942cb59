//! Hashes of a bundle's pages, which its signature covers.

use alloc::vec::Vec;

use crate::hash::{Label, hash32};

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageHash(pub [u8; 32]);

impl PageHash {
    pub fn of(page: &[u8]) -> Self {
        Self(hash32(Label::BundlePage, &[page]))
    }

    pub fn join(pages: &[Self]) -> Vec<u8> {
        pages.iter().flat_map(|page| page.0).collect()
    }

    pub fn all(joined: &[u8]) -> [u8; 32] {
        hash32(Label::BundlePages, &[joined])
    }
}
