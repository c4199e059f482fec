// SPDX-License-Identifier: GPL-2.0-or-later
//! What a kernel's bootable image tells about the kernel: types, prototypes, the version magic of its modules.
//!
//! Nothing else is asked: no debug package, no System.map, no headers.

mod btf;
mod bzimage;
mod facts;

use std::path::Path;

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use serde::{Deserialize, Serialize};

pub use self::btf::{BtfError, Member, Prototype, TypeId, TypeKind, Types};
pub use self::bzimage::{ImageError, decompress};
use crate::error::{Error, read, write};
use crate::kernel::KernelTree;

/// What the image tells beside its types.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The version magic that the kernel asks of its modules, as it stands in the image.
    pub vermagic: String,
}

/// A kernel's image, read.
pub struct KernelImage {
    /// Its types and prototypes.
    pub types: Types,
    /// The rest.
    pub facts: Facts,
}

impl KernelImage {
    /// Reads the image of a kernel; what was found is kept in the cache.
    ///
    /// # Errors
    /// The image is not one that we can read, or the cache failed.
    pub fn load(tree: &KernelTree, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let key = Key::new("image 1").with_file(&tree.image)?;
        let entry = cache.entry("image", &tree.id, &key, |dir| {
            stage(sink, "image", &tree.id, || index(tree, dir).map(|()| (StageEnd::Done, ())))
        })?;
        let at = |message: String| Error::Image { path: entry.clone(), message };
        let types = Types::parse(&read(&entry.join("btf"))?).map_err(|error| at(error.to_string()))?;
        let facts = serde_json::from_slice(&read(&entry.join("facts.json"))?)
            .map_err(|error| at(error.to_string()))?;
        Ok(Self { types, facts })
    }
}

fn index(tree: &KernelTree, dir: &Path) -> Result<(), Error> {
    let at = |message: String| Error::Image { path: tree.image.clone(), message };
    let vmlinux = decompress(&read(&tree.image)?).map_err(|error| at(error.to_string()))?;
    let btf = facts::section(&vmlinux, ".BTF").map_err(|error| at(error.to_string()))?;
    Types::parse(btf).map_err(|error| at(error.to_string()))?;
    let vermagic = facts::vermagic(&vmlinux, tree.release.as_str()).map_err(|error| at(error.to_string()))?;
    write(&dir.join("btf"), btf)?;
    let facts = serde_json::to_vec(&Facts { vermagic }).map_err(|error| at(error.to_string()))?;
    write(&dir.join("facts.json"), facts)
}
