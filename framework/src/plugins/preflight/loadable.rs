//! Checks of what the system's loader believes without looking: it ends the process on a file that lies.
//!
//! Addresses and tables of an ELF library have to be inside what the file maps. A file can still be wrong inside its code;
//! only its author can keep that from happening.

use object::elf::{
    DT_GNU_HASH, DT_HASH, DT_INIT, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ, DT_RELA,
    DT_RELASZ, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_VERNEED, DT_VERSYM, ELFOSABI_GNU, ELFOSABI_SYSV, PF_W, PF_X,
    PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use object::elf::{DynamicTag, ProgramFlags};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, Sym};
use object::{Endianness, pod};

/// Largest room in memory that a library may ask for, in bytes.
const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// Checks an ELF library whose segments and sections are inside the file. The error says what is wrong with it.
pub(super) fn check<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<(), String> {
    let header = H::parse(bytes).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let segments = header.program_headers(endian, bytes).map_err(|error| error.to_string())?;
    let ident = header.e_ident();
    if ident.version.0 != 1 || header.e_version(endian) != 1 {
        return Err("its header has an unknown version".into());
    }
    if ident.os_abi != ELFOSABI_SYSV && ident.os_abi != ELFOSABI_GNU {
        return Err(format!("it is for another operating system (OS ABI {})", ident.os_abi.0));
    }
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Err("it is a program: it names an interpreter".into());
    }
    let image = Image::<H>::new(endian, segments, bytes)?;
    image.check_dynamic(segments)
}

/// One segment that is mapped.
struct Mapped<'a> {
    start: u64,
    memory: u64,
    flags: ProgramFlags,
    data: &'a [u8],
}

/// A library as it would be in memory.
struct Image<'a, H> {
    endian: Endianness,
    mapped: Vec<Mapped<'a>>,
    bytes: &'a [u8],
    header: core::marker::PhantomData<H>,
}

impl<'a, H: FileHeader<Endian = Endianness>> Image<'a, H> {
    fn new(endian: Endianness, segments: &[H::ProgramHeader], bytes: &'a [u8]) -> Result<Self, String> {
        let mut mapped: Vec<Mapped<'a>> = Vec::new();
        for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
            let (start, memory): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_memsz(endian).into());
            let (offset, align): (u64, u64) = (segment.p_offset(endian).into(), segment.p_align(endian).into());
            let data = segment.data(endian, bytes).map_err(|()| "a segment is outside the file")?;
            if data.len() as u64 > memory {
                return Err(format!("the segment at {start:#x} is larger in the file than in memory"));
            }
            if align > 1 && (!align.is_power_of_two() || start % align != offset % align) {
                return Err(format!("the segment at {start:#x} is not aligned"));
            }
            let first = mapped.first().map_or(start, |first| first.start);
            let before = mapped.last().map_or(0, |last| last.start + last.memory);
            let end = start.checked_add(memory).filter(|end| end.saturating_sub(first) <= MAX_MEMORY_BYTES);
            if end.is_none() || start < before {
                return Err(format!("the segment at {start:#x} is out of place"));
            }
            mapped.push(Mapped { start, memory, flags: segment.p_flags(endian), data });
        }
        if mapped.is_empty() {
            return Err("it has nothing to load".into());
        }
        Ok(Self { endian, mapped, bytes, header: core::marker::PhantomData })
    }

    /// Returns the segment that holds all of these addresses.
    fn holder(&self, address: u64, size: u64) -> Option<&Mapped<'a>> {
        let end = address.checked_add(size)?;
        self.mapped.iter().find(|one| one.start <= address && end <= one.start + one.memory)
    }

    /// Returns what the file has at an address.
    fn data(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let holder = self.holder(address, size)?;
        let start = usize::try_from(address - holder.start).ok()?;
        holder.data.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    fn check_dynamic(&self, segments: &[H::ProgramHeader]) -> Result<(), String> {
        let mut all = segments.iter().filter(|segment| segment.p_type(self.endian) == PT_DYNAMIC);
        let (Some(segment), None) = (all.next(), all.next()) else {
            return Err("it has no dynamic segment, or several".into());
        };
        let outside = || "its dynamic segment is outside what it loads".to_owned();
        let (start, size): (u64, u64) = (segment.p_vaddr(self.endian).into(), segment.p_filesz(self.endian).into());
        // The loader reads it in memory, tools read it in the file.
        let in_memory = self.data(start, size).ok_or_else(outside)?;
        if segment.data(self.endian, self.bytes).ok() != Some(in_memory) {
            return Err(outside());
        }
        let count = in_memory.len() / size_of::<H::Dyn>();
        let (entries, _) = pod::slice_from_bytes::<H::Dyn>(in_memory, count).map_err(|()| outside())?;
        let Some(end) = entries.iter().position(|entry| entry.tag(self.endian) == DT_NULL) else {
            return Err("its dynamic segment has no end".into());
        };
        Tables { image: self, entries: &entries[..end] }.check()
    }
}

/// What the dynamic segment points to.
struct Tables<'i, 'a, H: FileHeader> {
    image: &'i Image<'a, H>,
    entries: &'a [H::Dyn],
}

impl<H: FileHeader<Endian = Endianness>> Tables<'_, '_, H> {
    fn value(&self, tag: DynamicTag) -> Option<u64> {
        let endian = self.image.endian;
        self.entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian))
    }

    fn check(&self) -> Result<(), String> {
        let endian = self.image.endian;
        let missing = |what: &str| format!("its {what} is missing or outside what it loads");
        let inside = |tag, size| self.value(tag).filter(|address| self.image.data(*address, size).is_some());
        let strings = self.value(DT_STRSZ).filter(|size| inside(DT_STRTAB, *size).is_some());
        let strings = strings.ok_or_else(|| missing("table of names"))?;
        let symbols = inside(DT_SYMTAB, size_of::<H::Sym>() as u64).ok_or_else(|| missing("table of symbols"))?;
        if self.value(DT_GNU_HASH).or(self.value(DT_HASH)).is_none() {
            return Err(missing("index of symbols"));
        }
        if self.value(DT_GNU_HASH).is_some_and(|address| !self.is_index(address)) {
            return Err("its index of symbols is damaged".into());
        }
        for (tag, what) in [(DT_VERSYM, "table of versions"), (DT_VERNEED, "table of needed versions")] {
            if self.value(tag).is_some() && inside(tag, 2).is_none() {
                return Err(missing(what));
            }
        }
        let mut needed = self.entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED);
        if needed.any(|entry| entry.val(endian) >= strings) {
            return Err("it needs a library whose name is outside its table of names".into());
        }
        let starts = |address| self.image.holder(address, 1).is_some_and(|holder| holder.flags.contains(PF_X));
        if self.value(DT_INIT).is_some_and(|address| !starts(address)) {
            return Err("its initialiser is no code".into());
        }
        let initialisers = self.value(DT_INIT_ARRAYSZ).unwrap_or(0);
        if initialisers > 0 && inside(DT_INIT_ARRAY, initialisers).is_none() {
            return Err(missing("table of initialisers"));
        }
        for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            if let (Some(address), Some(size)) = (self.value(table), self.value(size)) {
                self.check_relocations(address, size, symbols, strings)?;
            }
        }
        Ok(())
    }

    /// Whether the loader can look a name up in the GNU hash table at `address`.
    fn is_index(&self, address: u64) -> bool {
        let Some(head) = self.image.data(address, 16) else { return false };
        let word = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u64::from(if self.image.endian == Endianness::Little {
                u32::from_le_bytes(bytes)
            } else {
                u32::from_be_bytes(bytes)
            })
        };
        let (buckets, bloom) = (word(0), word(8));
        let room = 16 + bloom * if H::is_type_64_sized() { 8 } else { 4 } + buckets * 4;
        buckets > 0 && bloom.is_power_of_two() && self.image.data(address, room).is_some()
    }

    fn check_relocations(&self, address: u64, size: u64, symbols: u64, strings: u64) -> Result<(), String> {
        let (image, endian) = (self.image, self.image.endian);
        let damaged = || "its relocations are damaged".to_owned();
        let data = image.data(address, size).ok_or_else(damaged)?;
        let count = data.len() / size_of::<H::Rela>();
        let (relocations, _) = pod::slice_from_bytes::<H::Rela>(data, count).map_err(|()| damaged())?;
        let symbol_size = size_of::<H::Sym>() as u64;
        for relocation in relocations {
            let place = image.holder(relocation.r_offset(endian).into(), 1);
            if !place.is_some_and(|holder| holder.flags.contains(PF_W)) {
                return Err(damaged());
            }
            let symbol = u64::from(relocation.r_sym(endian, false));
            let symbol = symbol.checked_mul(symbol_size).and_then(|offset| symbols.checked_add(offset));
            let data = symbol.and_then(|address| image.data(address, symbol_size)).ok_or_else(damaged)?;
            let (symbol, _) = pod::from_bytes::<H::Sym>(data).map_err(|()| damaged())?;
            if u64::from(symbol.st_name(endian)) >= strings.max(1) {
                return Err(damaged());
            }
        }
        Ok(())
    }
}
