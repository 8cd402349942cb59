//! What a message says of a file: enough to fetch it, and to know that it is the one.
//!
//! ```text
//! payload = CBOR [1, key32, size u64, root32, name text (, [width u16, height u16, blur bstr])]     kind 5
//! ```

use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{FileName, Layout};
use crate::{
    codec::{self, Malformed},
    hash::{Label, kdf16},
    ids::FileId,
    limits::FILE_BLUR_BYTES,
};

/// A file that a member offers to the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    pub(super) name: FileName,
    pub(super) layout: Layout,
    pub(super) key: FileKey,
    pub(super) root: [u8; 32],
    pub(super) image: Option<Image>,
}

/// The secret of one file, drawn for it. Wiped on drop, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Encode, Decode)]
#[cbor(transparent)]
pub struct FileKey(#[cbor(n(0), with = "minicbor::bytes")] pub(super) [u8; 32]);

/// What shows an image before it is there: by the sender's word.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Image {
    /// In pixels, at least one.
    #[n(0)]
    pub width: u16,
    /// See [`Self::width`].
    #[n(1)]
    pub height: u16,
    /// A ThumbHash, of at most [`FILE_BLUR_BYTES`]; it may be empty.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub blur: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Written {
    #[n(0)]
    version: u8,
    #[n(1)]
    key: FileKey,
    #[n(2)]
    size: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    root: [u8; 32],
    #[n(4)]
    name: FileName,
    #[n(5)]
    image: Option<Image>,
}

const VERSION: u8 = 1;

impl Offer {
    /// Reads the payload of a message of kind [`super::FILE`].
    pub fn from_bytes(payload: &[u8]) -> Result<Self, Malformed> {
        let Written { version, key, size, root, name, image } = codec::decode(payload)?;
        let layout = Layout::new(size).map_err(|_| Malformed)?;
        let is_good = version == VERSION && image.as_ref().is_none_or(Image::is_good);
        is_good.then_some(Self { name, layout, key, root, image }).ok_or(Malformed)
    }

    /// The payload.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&Written {
            version: VERSION,
            key: self.key.clone(),
            size: self.layout.size(),
            root: self.root,
            name: self.name.clone(),
            image: self.image.clone(),
        }))
    }

    /// The same with what shows it as an image; one that could not be read again is left out.
    #[must_use]
    pub fn with_image(self, image: Image) -> Self {
        Self { image: Some(image).filter(Image::is_good), ..self }
    }

    /// Names the file to whoever has it: only who has an offer of it knows this.
    #[must_use]
    pub fn id(&self) -> FileId {
        let size = self.layout.size().to_be_bytes();
        FileId(kdf16(&self.key.0, Label::File, &[&size, &self.root]))
    }

    /// What it is called, by the sender's word.
    #[must_use]
    pub const fn name(&self) -> &FileName {
        &self.name
    }

    /// How it is cut.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// What shows it before it is there, where it is an image.
    #[must_use]
    pub const fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }
}

impl FileKey {
    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }
}

impl PartialEq for FileKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for FileKey {}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(…)")
    }
}

impl Image {
    fn is_good(&self) -> bool {
        self.width > 0 && self.height > 0 && self.blur.len() <= FILE_BLUR_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use proptest::{collection, prelude::*};

    use super::*;
    use crate::limits::FILE_BYTES;

    fn offer() -> Offer {
        Offer {
            name: FileName::new("plan.pdf").unwrap(),
            layout: Layout::new(200_000).unwrap(),
            key: FileKey([7; 32]),
            root: [9; 32],
            image: None,
        }
    }

    fn image() -> Image {
        Image { width: 640, height: 480, blur: vec![1; 25] }
    }

    #[test]
    fn what_was_written_is_read() {
        for offer in [offer(), offer().with_image(image())] {
            let read = Offer::from_bytes(&offer.to_bytes()).unwrap();
            assert_eq!(read, offer);
            assert_eq!(read.id(), offer.id());
        }
    }

    #[test]
    fn what_an_honest_node_does_not_write_is_no_offer() {
        let written = |change: fn(&mut Written)| {
            let mut written = Written {
                version: VERSION,
                key: FileKey([7; 32]),
                size: 200_000,
                root: [9; 32],
                name: FileName::new("plan.pdf").unwrap(),
                image: Some(image()),
            };
            change(&mut written);
            Offer::from_bytes(&codec::encode(&written))
        };
        assert!(written(|_| {}).is_ok());
        assert!(written(|written| written.size = FILE_BYTES).is_ok());
        assert!(written(|written| written.size = FILE_BYTES + 1).is_err());
        assert!(written(|written| written.version = 2).is_err());
        for change in [
            (|image: &mut Image| image.width = 0) as fn(&mut Image),
            |image| image.height = 0,
            |image| image.blur = vec![0; FILE_BLUR_BYTES + 1],
        ] {
            let mut bad = image();
            change(&mut bad);
            assert_eq!(offer().with_image(bad.clone()).image(), None);
            let written = Offer { image: Some(bad), ..offer() };
            assert!(Offer::from_bytes(&written.to_bytes()).is_err());
        }
        let bytes = offer().to_bytes();
        assert!(Offer::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(Offer::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        // A null at the end stands for what is left out.
        let mut longer = bytes.to_vec();
        longer[0] += 1;
        longer.push(0xf6);
        assert!(Offer::from_bytes(&longer).is_err());
        let mut name = bytes.to_vec();
        let at = name.windows(8).position(|part| part == b"plan.pdf").unwrap();
        name[at + 4] = b'/';
        assert!(Offer::from_bytes(&name).is_err());
    }

    #[test]
    fn key_size_and_content_name_the_file_and_what_it_is_called_does_not() {
        let id = offer().id();
        assert_ne!(Offer { key: FileKey([8; 32]), ..offer() }.id(), id);
        assert_ne!(Offer { layout: Layout::new(200_001).unwrap(), ..offer() }.id(), id);
        assert_ne!(Offer { root: [8; 32], ..offer() }.id(), id);
        assert_eq!(Offer { name: FileName::new("x").unwrap(), ..offer() }.id(), id);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert!(!format!("{:?}", offer()).contains("7, 7"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in collection::vec(any::<u8>(), 0..300)) {
            let _ = Offer::from_bytes(&bytes);
        }

        #[test]
        fn one_offer_has_one_encoding(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = offer().with_image(image()).to_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Offer::from_bytes(&bytes) {
                prop_assert_eq!(read.to_bytes().to_vec(), bytes);
            }
        }
    }
}
