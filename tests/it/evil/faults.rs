//! The faults of the fixture `evil`, and what a host does about each: the source of the table in `docs/faults.md`.

use Ends::{Active, Hangs, Holds, Kills, Late, Refused, RefusedLate, Reported, Unseen};
use Place::{Call, Delivery, End, Form, Later, Start, Texts};

pub(super) const SIGABRT: i32 = 6;
pub(super) const SIGSEGV: i32 = 11;

/// One fault, by the number under which the fixture commits it.
pub(super) struct Fault {
    pub(super) number: u32,
    pub(super) what: &'static str,
    pub(super) place: Place,
    pub(super) ends: Ends,
    /// The check of `plugin check` that finds it and its status; empty when none does.
    pub(super) check: &'static str,
}

/// Where a fault is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// While the library is opened and the plugin made.
    Start,
    /// 00005.
    Texts,
    /// 07300.
    Form,
    /// A synchronous handler that somebody waits for.
    Call,
    /// A synchronous handler of a deferred delivery.
    Delivery,
    /// An asynchronous handler of a deferred delivery.
    Later,
    /// When the library has been removed.
    End,
}

/// How a fault ends in a host that has the plugin in its own process. The text is part of what the host says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// The plugin is refused with this reason; the others are loaded.
    Refused(&'static str),
    /// The same, when the time for loading is over.
    RefusedLate(&'static str),
    /// The plugin is active, and the log says this.
    Active(&'static str),
    /// The call fails with this report, and the next one works.
    Reported(&'static str),
    /// The same, when the deadline has passed.
    Late(&'static str),
    /// One thread is lost until the process ends; everything else goes on.
    Holds(&'static str),
    /// The call succeeds; nobody in the process can see what it did. The text says what that is.
    Unseen(&'static str),
    /// The process ends.
    Kills(Death),
    /// The process stands still and has to be killed.
    Hangs,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Signal(i32),
    Exit(i32),
}

const fn fault(number: u32, check: &'static str, place: Place, what: &'static str, ends: Ends) -> Fault {
    Fault { number, what, place, ends, check }
}

const ABORTS: Ends = Kills(Death::Signal(SIGABRT));
const CRASHES: Ends = Kills(Death::Signal(SIGSEGV));
const LEAVES: Ends = Kills(Death::Exit(0));
const NOT_JSON: Ends = Reported("the handler gave something else than `Delivered`");

pub(super) const FAULTS: &[Fault] = &[
    fault(1, "D3 fail", Start, "the constructor panics", Refused("evil panics in its constructor")),
    fault(2, "D3 crash", Start, "the constructor aborts", ABORTS),
    fault(3, "D3 crash", Start, "the constructor ends the process with 0", LEAVES),
    fault(4, "D3 timeout", Start, "the constructor never returns", RefusedLate("it has not ended within 5s")),
    fault(5, "D4 warn", Start, "the constructor starts 100 threads that never end", Unseen("the threads stay")),
    fault(6, "D3 fail", Start, "the constructor prints to standard output", Unseen("it goes to standard error")),
    fault(7, "D1 crash", Start, "the library crashes while it is opened", CRASHES),
    fault(8, "D1 timeout", Start, "the library never ends to be opened", Hangs),
    fault(9, "F1 fail", Texts, "00005 panics", Refused("00005 `evil`: panicked at ")),
    fault(10, "F1 timeout", Texts, "00005 never returns", RefusedLate("00005 `evil`: it has not ended within 5s")),
    fault(11, "I1 fail", Texts, "00005 gives broken Fluent", Active("text cannot be used")),
    fault(12, "I4 warn", Texts, "00005 gives markup and control characters", Unseen("it is shown as text")),
    fault(
        13,
        "I1 fail",
        Texts,
        "00005 gives languages twice, and some that are none",
        Active("is not a language code"),
    ),
    fault(14, "I1 fail", Texts, "00005 gives texts that nest 100 000 deep", Active("nests too deep")),
    fault(15, "F5 fail", Texts, "00005 gives 17 MiB", Refused("at most 16777216 are taken")),
    fault(
        16,
        "F5 fail",
        Form,
        "07300 has a field of an unknown format",
        Refused("a format that this host does not know"),
    ),
    fault(17, "F5 fail", Form, "07300 gives no form", Refused("the value of 07300 `evil` is of another type")),
    fault(18, "F5 fail", Form, "07300 is good at first and bad later", Active("auth method left out")),
    fault(
        19,
        "F5 fail",
        Form,
        "07300 has a key with control characters",
        Refused(r"the field `fault\r\nkey=\u{1b}[2J`"),
    ),
    fault(20, "F5 fail", Form, "07300 has 5000 fields", Refused("a form has at most 100")),
    fault(21, "", Form, "07300 has control characters in its texts", Unseen("they are shown escaped")),
    fault(22, "F1 fail", Call, "panics with a text", Reported("evil panics on purpose")),
    fault(23, "F1 fail", Call, "panics with a `String`", Reported("evil panics with a String")),
    fault(24, "F1 fail", Call, "panics with another value", Reported("a value that is no text")),
    fault(25, "F1 fail", Call, "panics with a value whose destructor panics", Reported("a value that is no text")),
    fault(26, "F1 fail", Call, "panics with 64 MiB of text", Reported("… [cut, 67108860 bytes]")),
    fault(
        27,
        "F1 warn",
        Call,
        "fails with control characters in its message",
        Reported(r"evil \u{1b}[31mred\u{1b}[0m\r\nERROR forged"),
    ),
    fault(28, "F1 warn", Call, "fails with a message and a code of 64 MiB each", Reported("… [cut, 67108864 bytes]")),
    fault(29, "F5 fail", Delivery, "gives bytes that are no JSON", NOT_JSON),
    fault(30, "F5 fail", Delivery, "gives invalid UTF-8", NOT_JSON),
    fault(31, "F5 fail", Delivery, "gives JSON of another type", NOT_JSON),
    fault(32, "F5 fail", Delivery, "gives JSON that nests 100 000 deep", NOT_JSON),
    fault(33, "F5 fail", Delivery, "gives 64 MiB", Reported("at most 16777216 are taken")),
    fault(34, "F1 crash", Call, "overflows the stack", ABORTS),
    fault(35, "F1 crash", Call, "writes to memory that is not there", CRASHES),
    fault(36, "F1 crash", Call, "aborts", ABORTS),
    fault(37, "F1 crash", Call, "ends the process with 0", LEAVES),
    fault(38, "F1 crash", Call, "panics in a destructor while it panics", ABORTS),
    fault(39, "F1 crash", Call, "panics with a panic hook that panics", ABORTS),
    fault(40, "F1 crash", Call, "asks for more memory than there is", ABORTS),
    fault(
        41,
        "F1 fail",
        Call,
        "panics behind a panic hook of its own",
        Reported("panicked: evil panics behind a hook of its own"),
    ),
    fault(42, "F1 timeout", Call, "never returns", Holds("no answer comes")),
    fault(43, "F1 timeout", Call, "fires itself while it holds its own lock", Holds("no answer comes")),
    fault(44, "F1 warn", Call, "fires itself without end", Reported("nested more than 16 deep")),
    fault(45, "H13 warn", Call, "leaks 64 KiB with each call", Unseen("the memory stays")),
    fault(46, "H9 fail", Call, "starts 100 threads that never end with each call", Unseen("the threads stay")),
    fault(47, "H7 fail", Call, "leaks 100 file descriptors with each call", Unseen("the descriptors stay")),
    fault(48, "H1 fail", Call, "changes the locale", Unseen("C code sees the other locale")),
    fault(49, "H3 fail", Call, "changes the current folder", Unseen("the host's own paths are absolute")),
    fault(50, "H4 fail", Call, "changes the umask", Unseen("files that plugins make have other rights")),
    fault(51, "H5 fail", Call, "changes environment variables", Unseen("other threads may read them meanwhile")),
    fault(52, "H2 fail", Call, "ignores SIGTERM", Unseen("only SIGKILL ends the host")),
    fault(53, "H12 fail", Call, "prints to standard output and standard error", Unseen("it goes to standard error")),
    fault(54, "H7 fail", Call, "closes standard output", Unseen("what is opened next takes its number")),
    fault(55, "", Call, "writes 30 000 lines to the log", Active("the plugin logs too much")),
    fault(56, "", Call, "writes a line of 64 MiB to the log", Active(" [cut]")),
    fault(57, "", Call, "forges lines, channels and file names in the log", Active(r"\u{1b}[2Jwiped\r\n2026")),
    fault(
        58,
        "",
        Call,
        "uses its context on 8 threads, and the log after its call",
        Active("a thread has outlived its call"),
    ),
    fault(60, "", End, "panics while it shuts down", Active("evil panics in its shutdown")),
    fault(61, "E1 timeout", End, "never ends to shut down", Active("it has not ended within 2s")),
    fault(62, "", End, "panics in its destructor", Active("evil panics in its destructor")),
    fault(70, "F1 fail", Later, "panics in a poll", Reported("evil panics in a poll")),
    fault(
        71,
        "F1 fail",
        Later,
        "panics in a destructor at the end of a poll",
        Reported("evil panics in the destructor of a future"),
    ),
    fault(72, "F1 warn", Later, "never wakes, and is dropped in the middle", Late("no result within 1s")),
    fault(73, "F1 warn", Later, "never wakes, and panics when it is dropped", Late("no result within 1s")),
    fault(74, "F1 warn", Later, "wakes itself without end", Late("no result within 1s")),
    fault(75, "F1 timeout", Later, "blocks in a poll", Holds("no answer comes")),
    fault(76, "F5 fail", Later, "gives 64 MiB", Reported("at most 16777216 are taken")),
    fault(77, "F1 warn", Later, "fails with control characters in its message", Reported(r"evil \u{1b}[31mred")),
];
