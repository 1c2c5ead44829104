//! The new lines of one plugin in the channel logs, whichever host writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What the name of a channel's file ends with.
const SUFFIX: &str = ".application.log";

/// The logs of a data folder, from the moment on at which this was made.
pub(super) struct Tail {
    folder: PathBuf,
    /// How much of each channel has been read.
    read: BTreeMap<String, u64>,
    /// The plugin whose lines are shown.
    plugin: Option<String>,
}

impl Tail {
    pub(super) fn new(folder: &Path) -> Self {
        let mut tail = Self { folder: folder.to_owned(), read: BTreeMap::new(), plugin: None };
        let lengths = tail.channels().into_iter().map(|(channel, path)| {
            let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
            (channel, length)
        });
        tail.read = lengths.collect();
        tail
    }

    /// Shows the lines of this plugin from now on.
    pub(super) fn follow(&mut self, plugin: &str) {
        self.plugin = Some(plugin.to_owned());
    }

    /// Returns the lines that came since the last time, with their channels.
    pub(super) fn new_lines(&mut self) -> Vec<(String, String)> {
        let Some(plugin) = self.plugin.clone() else { return Vec::new() };
        let mut found = Vec::new();
        for (channel, path) in self.channels() {
            let from = self.read.entry(channel.clone()).or_default();
            let Some(text) = read_from(&path, from) else { continue };
            found.extend(
                text.lines().filter(|line| is_of(line, &plugin)).map(|line| (channel.clone(), line.to_owned())),
            );
        }
        found.sort_by(|(_, left), (_, right)| left.cmp(right));
        found
    }

    fn channels(&self) -> Vec<(String, PathBuf)> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let channels = files.filter_map(|file| {
            let name = file.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned();
            Some((name, file.path()))
        });
        channels.collect()
    }
}

/// Reads the whole lines behind `from` and moves it; from the start when the file was begun anew.
fn read_from(path: &Path, from: &mut u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length < *from {
        *from = 0;
    }
    if length == *from {
        return None;
    }
    file.seek(SeekFrom::Start(*from)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
    *from += u64::try_from(whole).ok()?;
    Some(String::from_utf8_lossy(&bytes[..whole]).into_owned())
}

/// Whether a line was written by a plugin, or about it: both have its id as a value.
fn is_of(line: &str, plugin: &str) -> bool {
    line.split(' ').any(|word| word.strip_prefix("plugin=") == Some(plugin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_whole_lines_of_the_plugin_are_shown_also_after_the_file_was_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Webhooks.application.log");
        fs::write(&path, "t INFO  old plugin=hello\n").unwrap();
        let mut tail = Tail::new(folder.path());
        tail.follow("hello");
        let append = |text: &str| {
            let old = fs::read_to_string(&path).unwrap();
            fs::write(&path, old + text).unwrap();
        };
        append("t INFO  one plugin=hello\nt INFO  two plugin=hello2\nt INFO  half plu");
        let shown = |line: &str| ("Webhooks".to_owned(), line.to_owned());
        assert_eq!(tail.new_lines(), [shown("t INFO  one plugin=hello")]);
        append("gin=hello n=1\n");
        assert_eq!(tail.new_lines(), [shown("t INFO  half plugin=hello n=1")]);
        assert_eq!(tail.new_lines(), []);
        fs::write(&path, "t INFO  new plugin=hello\n").unwrap();
        assert_eq!(tail.new_lines(), [shown("t INFO  new plugin=hello")]);
    }
}
