//! A subscriber that remembers spans: who was below whom, which fields they had, whether they ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_core::span::Current;

/// What is known of one span.
#[derive(Debug, Clone)]
pub struct Seen {
    pub parent: Option<u64>,
    pub metadata: &'static Metadata<'static>,
    pub fields: BTreeMap<&'static str, String>,
    /// How many handles of it there are; 0 once it has ended.
    pub handles: usize,
    /// How often it was entered.
    pub entered: usize,
}

impl Seen {
    /// What a path shows of it: the actor whose handler it is, or its name.
    fn shown(&self) -> &str {
        self.fields.get("actor").map_or(self.metadata.name(), |s| s)
    }
}

#[derive(Clone)]
pub struct Recorder {
    number: usize,
    spans: Arc<Mutex<Vec<Seen>>>,
    /// Whether the spans of handlers are wanted.
    handlers: bool,
}

thread_local! {
    /// The spans that are entered on this thread, with the number of their recorder.
    static STACK: RefCell<Vec<(usize, u64)>> = const { RefCell::new(Vec::new()) };
}

impl Recorder {
    /// The one of the process, which wants everything.
    pub fn global() -> &'static Recorder {
        static GLOBAL: OnceLock<Recorder> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let recorder = Recorder::new(true);
            tracing::subscriber::set_global_default(recorder.clone()).unwrap();
            recorder
        })
    }

    pub fn new(handlers: bool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Recorder {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            spans: Arc::default(),
            handlers,
        }
    }

    /// The names of the spans that the calling code is in, from the outermost to the innermost.
    pub fn path(&self) -> String {
        let spans = self.spans.lock();
        let mut names = Vec::new();
        let mut next = self.current();
        while let Some(id) = next {
            let span = &spans[index(id)];
            names.push(span.shown().to_owned());
            next = span.parent;
        }
        names.reverse();
        names.join("/")
    }

    /// The span of this recorder that the calling code is in.
    fn current(&self) -> Option<u64> {
        let innermost = STACK.with_borrow(|stack| stack.last().copied());
        innermost
            .filter(|(of, _)| *of == self.number)
            .map(|(_, id)| id)
    }

    /// All spans below that one.
    pub fn below(&self, root: &tracing::Span) -> Vec<Seen> {
        let root = root.id().unwrap().into_u64();
        let spans = self.spans.lock();
        let is_below = |span: &Seen| {
            let mut next = span.parent;
            while let Some(id) = next {
                if id == root {
                    return true;
                }
                next = spans[index(id)].parent;
            }
            false
        };
        spans
            .iter()
            .filter(|span| is_below(span))
            .cloned()
            .collect()
    }

    pub fn count(&self) -> usize {
        self.spans.lock().len()
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id - 1).unwrap()
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
            && match metadata.target() {
                "callboard::handle" => self.handlers,
                target => target.starts_with("observed"),
            }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let parent = match span.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if span.is_contextual() => self.current(),
            None => None,
        };
        let mut fields = Fields::default();
        span.record(&mut fields);
        let mut spans = self.spans.lock();
        if let Some(parent) = parent {
            // As the registry of tracing-subscriber does.
            assert!(index(parent) < spans.len(), "no span of this subscriber");
        }
        spans.push(Seen {
            parent,
            metadata: span.metadata(),
            fields: fields.0,
            handles: 1,
            entered: 0,
        });
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        let id = id.into_u64();
        self.spans.lock()[index(id)].entered += 1;
        STACK.with_borrow_mut(|stack| stack.push((self.number, id)));
    }

    fn exit(&self, id: &Id) {
        let innermost = STACK.with_borrow_mut(Vec::pop);
        assert_eq!(
            innermost,
            Some((self.number, id.into_u64())),
            "spans end inside out"
        );
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.spans.lock()[index(id.into_u64())].handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let span = &mut self.spans.lock()[index(id.into_u64())];
        span.handles -= 1;
        span.handles == 0
    }

    fn current_span(&self) -> Current {
        match self.current() {
            Some(id) => {
                let metadata = self.spans.lock()[index(id)].metadata;
                Current::new(Id::from_u64(id), metadata)
            }
            None => Current::none(),
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
