//! The hash tree over a file's sealed chunks, so that each is checked alone.
//!
//! ```text
//! leaf  = H("wt1 file leaf", index u32be ‖ sealed)
//! node  = H("wt1 file node", left ‖ right)          the last of an odd number goes up as it is
//! root  = H("wt1 file root", size u64be ‖ top)
//! proof = the sibling of each node on the way up that has one, the lowest first
//! ```

use alloc::vec::Vec;

use super::Layout;
use crate::hash::{Label, hash32};

pub(super) type Hash = [u8; 32];

/// All nodes, of at most 262,144 leaves.
#[derive(Clone)]
pub(super) struct Tree {
    /// The leaves first; the last level is the top alone.
    levels: Vec<Vec<Hash>>,
}

/// The hash of one sealed chunk.
pub(super) fn leaf(index: u32, sealed: &[u8]) -> Hash {
    hash32(Label::FileLeaf, &[&index.to_be_bytes(), sealed])
}

/// Whether a leaf is at this place of the file with this root.
pub(super) fn holds(
    root: &Hash,
    layout: Layout,
    index: u32,
    leaf: Hash,
    mut proof: &[Hash],
) -> bool {
    let (mut at, mut width, mut top) = (index, layout.chunks(), leaf);
    if at >= width {
        return false;
    }
    while width > 1 {
        if let Some(side) = sibling(at, width) {
            let Some((other, rest)) = proof.split_first() else { return false };
            proof = rest;
            top = if side < at { node(other, &top) } else { node(&top, other) };
        }
        (at, width) = (at / 2, width.div_ceil(2));
    }
    proof.is_empty() && self::root(layout, &top) == *root
}

/// Whose hash is needed beside that of `at`, on a level so wide.
const fn sibling(at: u32, width: u32) -> Option<u32> {
    let other = at ^ 1;
    if other < width { Some(other) } else { None }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash32(Label::FileNode, &[left, right])
}

fn root(layout: Layout, top: &Hash) -> Hash {
    hash32(Label::FileRoot, &[&layout.size().to_be_bytes(), top])
}

impl Tree {
    /// Over all leaves of a file, of which there is at least one.
    pub(super) fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = Vec::from([leaves]);
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let pairs = below.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                [alone, ..] => *alone,
                [] => [0; 32],
            });
            let above = pairs.collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// The leaves, in order.
    pub(super) fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// What an offer of the file says.
    pub(super) fn root(&self, layout: Layout) -> Hash {
        let top = self.levels.last().and_then(|level| level.first());
        root(layout, top.unwrap_or(&[0; 32]))
    }

    /// The way up from a leaf.
    pub(super) fn proof(&self, index: u32) -> Vec<Hash> {
        let mut at = index;
        let mut proof = Vec::new();
        for level in &self.levels {
            let width = u32::try_from(level.len()).unwrap_or(u32::MAX);
            let other = sibling(at, width).and_then(|other| level.get(other as usize));
            proof.extend(other);
            at /= 2;
        }
        proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FILE_CHUNK;

    fn layout(chunks: u32) -> Layout {
        Layout::new(u64::from(chunks) * FILE_CHUNK as u64).unwrap()
    }

    fn tree(chunks: u32) -> Tree {
        Tree::new((0..chunks).map(|index| leaf(index, &index.to_le_bytes())).collect())
    }

    #[test]
    fn each_leaf_is_proven_at_its_place_and_at_no_other() {
        for chunks in 1..=17 {
            let (tree, layout) = (tree(chunks), layout(chunks));
            let root = tree.root(layout);
            for index in 0..chunks {
                let (leaf, proof) = (tree.leaves()[index as usize], tree.proof(index));
                for at in 0..=chunks {
                    assert_eq!(holds(&root, layout, at, leaf, &proof), at == index, "{at} {index}");
                }
            }
        }
    }

    #[test]
    fn a_changed_cut_or_lengthened_proof_proves_nothing() {
        let (tree, layout) = (tree(13), layout(13));
        let root = tree.root(layout);
        for index in 0..13 {
            let (leaf, proof) = (tree.leaves()[index as usize], tree.proof(index));
            for at in 0..proof.len() {
                let mut changed = proof.clone();
                changed[at][31] ^= 1;
                assert!(!holds(&root, layout, index, leaf, &changed));
                changed.remove(at);
                assert!(!holds(&root, layout, index, leaf, &changed));
            }
            assert!(!holds(&root, layout, index, leaf, &[&proof[..], &[leaf]].concat()));
            let mut turned = proof.clone();
            turned.reverse();
            assert!(!holds(&root, layout, index, leaf, &turned));
        }
    }

    #[test]
    fn a_node_is_no_leaf_and_another_size_has_another_root() {
        let (tree, full) = (tree(4), layout(4));
        let root = tree.root(full);
        // The level above, taken for a file of two chunks.
        assert!(!holds(&root, layout(2), 0, tree.levels[1][0], &[tree.levels[1][1]]));
        let shorter = Layout::new(full.size() - 1).unwrap();
        assert_eq!(shorter.chunks(), 4);
        assert!(!holds(&root, shorter, 0, tree.leaves()[0], &tree.proof(0)));
    }

    #[test]
    fn the_tree_is_as_in_rfc_6962() {
        let tree = tree(7);
        let [a, b, c, d, e, f, g] = *tree.leaves() else { panic!("seven") };
        let left = node(&node(&a, &b), &node(&c, &d));
        let right = node(&node(&e, &f), &g);
        assert_eq!(tree.root(layout(7)), root(layout(7), &node(&left, &right)));
    }
}
