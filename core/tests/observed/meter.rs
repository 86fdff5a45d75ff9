//! A metrics recorder that remembers everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};
use parking_lot::Mutex;

/// A name with its labels: `name{a=b,c=d}`.
fn text(key: &Key) -> String {
    let mut labels: Vec<_> = key
        .labels()
        .map(|label| format!("{}={}", label.key(), label.value()))
        .collect();
    labels.sort();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

#[derive(Default)]
pub struct Value {
    number: AtomicU64,
    samples: Mutex<Vec<f64>>,
}

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.number.fetch_add(by, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.number.store(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Value {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.number.store(value.to_bits(), Ordering::SeqCst);
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        self.samples.lock().push(value);
    }
}

#[derive(Default, Clone)]
pub struct Meter {
    values: Arc<Mutex<BTreeMap<String, Arc<Value>>>>,
    described: Arc<Mutex<BTreeMap<String, Option<Unit>>>>,
}

impl Meter {
    /// The one of the process.
    pub fn global() -> &'static Meter {
        static GLOBAL: OnceLock<Meter> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let meter = Meter::default();
            metrics::set_global_recorder(meter.clone()).ok().unwrap();
            meter
        })
    }

    fn value(&self, key: &Key) -> Arc<Value> {
        let described = self.described.lock().contains_key(key.name());
        assert!(described, "{} has no description", key.name());
        Arc::clone(self.values.lock().entry(text(key)).or_default())
    }

    fn find(&self, name: &str) -> Option<Arc<Value>> {
        self.values.lock().get(name).cloned()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.find(name)
            .map_or(0, |value| value.number.load(Ordering::SeqCst))
    }

    pub fn gauge(&self, name: &str) -> Option<f64> {
        let value = self.find(name)?;
        Some(f64::from_bits(value.number.load(Ordering::SeqCst)))
    }

    pub fn samples(&self, name: &str) -> Vec<f64> {
        self.find(name)
            .map_or_else(Vec::new, |value| value.samples.lock().clone())
    }

    /// The names that begin so, with their labels.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let values = self.values.lock();
        values
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    pub fn described(&self) -> BTreeMap<String, Option<Unit>> {
        self.described.lock().clone()
    }

    fn describe(&self, key: &KeyName, unit: Option<Unit>) {
        self.described.lock().insert(key.as_str().to_owned(), unit);
    }
}

impl metrics::Recorder for Meter {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.value(key).into()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.value(key).into()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.value(key).into()
    }
}
