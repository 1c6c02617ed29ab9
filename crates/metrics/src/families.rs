//! What was read from a daemon's counters, as plain data: families of samples.
//!
//! A [`Source`](crate::Source) makes them at each scrape; `exporter` encodes them through `prometheus-client`.

use std::borrow::Cow;
use std::fmt;

use gatewayworker_daemon::HistogramCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The families of a scrape, in the order in which they are written.
#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

/// The samples of one name.
#[derive(Debug, Clone)]
pub struct Family {
    /// The name as a query has it: that of a counter ends with `_total`.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// What the samples are.
    pub kind: Kind,
    /// One sample for each set of labels.
    pub samples: Vec<Sample>,
}

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers that only grow.
    Counter,
    /// Numbers that go up and down.
    Gauge,
    /// Distributions.
    Histogram,
}

/// A number with its labels.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The labels: name and value. There are few, and none has a value for each client.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The number.
    pub value: Value,
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number: seconds.
    Real(f64),
    /// A distribution.
    Histogram(HistogramCounts),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<HistogramCounts> for Value {
    fn from(counts: HistogramCounts) -> Self {
        Self::Histogram(counts)
    }
}

impl Families {
    /// Adds a counter without labels; its name ends with `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl Into<Value>) {
        self.add(Kind::Counter, name, help).with(vec![], value);
    }

    /// Adds counters with one label; their name ends with `_total`.
    pub fn counters<L: Into<Cow<'static, str>>, V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.add(Kind::Counter, name, help).with_label(label, values);
    }

    /// Adds a gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Into<Value>) {
        self.add(Kind::Gauge, name, help).with(vec![], value);
    }

    /// Adds gauges with one label.
    pub fn gauges<L: Into<Cow<'static, str>>, V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.add(Kind::Gauge, name, help).with_label(label, values);
    }

    /// Adds a histogram without labels.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, counts: HistogramCounts) {
        self.add(Kind::Histogram, name, help).with(vec![], counts);
    }

    /// Adds histograms with one label.
    pub fn histograms<L: Into<Cow<'static, str>>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (L, HistogramCounts)>,
    ) {
        self.add(Kind::Histogram, name, help).with_label(label, counts);
    }

    /// Adds a family without samples.
    pub fn add(&mut self, kind: Kind, name: &'static str, help: &'static str) -> &mut Family {
        self.0.push(Family { name, help, kind, samples: Vec::new() });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Returns all families.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.iter()
    }
}

impl Family {
    /// Adds a sample.
    pub fn with(&mut self, labels: Vec<(&'static str, Cow<'static, str>)>, value: impl Into<Value>) {
        self.samples.push(Sample { labels, value: value.into() });
    }

    /// Adds samples with one label.
    pub fn with_label<L: Into<Cow<'static, str>>, V: Into<Value>>(
        &mut self,
        label: &'static str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        for (value_of_label, value) in values {
            self.with(vec![(label, value_of_label.into())], value);
        }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metric_type = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        // The encoder appends it again.
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let mut encoder = encoder.encode_descriptor(name, self.help, None, metric_type)?;
        for Sample { labels, value } in &self.samples {
            if labels.is_empty() {
                self.encode_value(value, &mut encoder)?;
            } else {
                self.encode_value(value, &mut encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_value(&self, value: &Value, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (self.kind, value) {
            (_, Value::Histogram(counts)) => {
                let buckets: Vec<_> = counts.buckets().collect();
                encoder.encode_histogram::<NoLabelSet>(counts.sum, counts.count(), &buckets, None)
            }
            (Kind::Counter, Value::Whole(number)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
            }
            (Kind::Counter, Value::Real(number)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
            }
            (_, Value::Whole(number)) => encoder.encode_gauge(number),
            (_, Value::Real(number)) => encoder.encode_gauge(number),
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A family without samples would be a name without a value.
        let filled = self.0.iter().filter(|family| !family.samples.is_empty());
        filled.into_iter().try_for_each(|family| family.encode(&mut encoder))
    }
}
