//! What this crate's unit tests share.

use std::path::{Path, PathBuf};

/// A folder of its own, gone when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = ntm_server::hex::encode(&ntm_server::clock::random::<8>());
        let path = std::env::temp_dir().join(format!("ntm-as-unit-{name}"));
        std::fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
