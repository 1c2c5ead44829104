//! Who can change the file: whoever can, runs code in the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Sheet;

const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

pub(super) fn judge(sheet: &mut Sheet, path: &Path) {
    let Ok(path) = path.canonicalize() else { return };
    let me = rustix::process::geteuid().as_raw();
    for place in path.ancestors() {
        let Ok(metadata) = fs::metadata(place) else { continue };
        let (mode, owner, shown) = (metadata.mode(), metadata.uid(), place.display());
        // In a sticky folder, such as /tmp, only the owner replaces a file.
        let sticky = metadata.is_dir() && mode & STICKY != 0;
        if mode & ALL_WRITE != 0 && !sticky {
            sheet.fail("A2", format!("everybody can change `{shown}`"), format!("run `chmod o-w {shown}`"));
        } else if mode & GROUP_WRITES != 0 && !sticky && place == path {
            sheet.warn("A2", format!("the group of `{shown}` can change it"), format!("run `chmod g-w {shown}`"));
        }
        if place == path && owner != 0 && owner != me {
            let found = format!("`{shown}` belongs to another user (uid {owner})");
            sheet.warn("A2", found, "let the user of the host, or root, own the library");
        }
    }
}
