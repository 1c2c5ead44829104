//! Changes a good library: just enough of ELF to damage it on purpose. 64 bits, little endian.

/// The bytes of a library.
#[derive(Clone)]
pub(super) struct Elf(pub(super) Vec<u8>);

pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_DYNAMIC: u32 = 2;
pub(super) const PT_INTERP: u32 = 3;
pub(super) const PT_NOTE: u32 = 4;

/// Offsets in a program header.
pub(super) const P_TYPE: usize = 0;
pub(super) const P_OFFSET: usize = 8;
pub(super) const P_VADDR: usize = 16;
pub(super) const P_FILESZ: usize = 32;
pub(super) const P_MEMSZ: usize = 40;
pub(super) const P_ALIGN: usize = 48;

/// Offsets in a section header.
pub(super) const SH_OFFSET: usize = 24;
pub(super) const SH_SIZE: usize = 32;

impl Elf {
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn number(&self, at: usize, bytes: usize) -> usize {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.0[at..at + bytes]);
        usize::try_from(u64::from_le_bytes(number)).unwrap()
    }

    /// Returns where the program headers of a type stand.
    pub(super) fn segments(&self, kind: u32) -> Vec<usize> {
        let (start, count) = (self.number(32, 8), self.number(56, 2));
        let all = (0..count).map(|index| start + 56 * index);
        all.filter(|at| self.number(at + P_TYPE, 4) == usize::try_from(kind).unwrap()).collect()
    }

    /// Returns where a section header stands.
    fn section(&self, name: &str) -> usize {
        let (start, count, names) = (self.number(40, 8), self.number(60, 2), self.number(62, 2));
        let names = self.number(start + 64 * names + SH_OFFSET, 8);
        let all = (0..count).map(|index| start + 64 * index);
        let wanted = format!("{name}\0");
        let mut found = all.filter(|at| self.0[names + self.number(*at, 4)..].starts_with(wanted.as_bytes()));
        found.next().unwrap_or_else(|| panic!("no section {name}"))
    }

    /// Returns the offset and length of what a section holds.
    pub(super) fn contents(&self, name: &str) -> (usize, usize) {
        let header = self.section(name);
        (self.number(header + SH_OFFSET, 8), self.number(header + SH_SIZE, 8))
    }

    /// Changes a number in a section header.
    pub(super) fn put_section(&mut self, name: &str, field: usize, value: u64) {
        let header = self.section(name);
        self.put_u64(header + field, value);
    }

    /// Returns where the value of an entry of the dynamic section stands.
    pub(super) fn dynamic(&self, tag: usize) -> usize {
        let (start, size) = self.contents(".dynamic");
        let mut all = (start..start + size).step_by(16);
        all.find(|at| self.number(*at, 8) == tag).unwrap_or_else(|| panic!("no dynamic entry {tag}")) + 8
    }

    /// Replaces the first text of this name by one of the same length.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        assert_eq!(old.len(), new.len());
        let at = self.0.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        self.put(at, new.as_bytes());
    }

    /// Replaces the whole record: its bytes go to the end of the file.
    pub(super) fn put_record(&mut self, record: &[u8]) {
        let end = u64::try_from(self.0.len()).unwrap();
        self.0.extend_from_slice(record);
        self.put_section(".switchboard", SH_OFFSET, end);
        self.put_section(".switchboard", SH_SIZE, u64::try_from(record.len()).unwrap());
    }

    /// Returns the manifest.
    pub(super) fn manifest(&self) -> String {
        let (start, _) = self.contents(".switchboard");
        let length = self.number(start + 8, 4);
        String::from_utf8(self.0[start + 12..start + 12 + length].to_vec()).unwrap()
    }

    /// Replaces the manifest.
    pub(super) fn put_manifest(&mut self, json: &[u8]) {
        let length = u32::try_from(json.len()).unwrap().to_le_bytes();
        self.put_record(&[b"SWBPLUG1", &length[..], json].concat());
    }
}
