//! A report as titles, facts, tables and plots: what text and HTML have in common.

/// A report's part.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Single values: (what, value).
    pub facts: Vec<(String, String)>,
    /// Rows of values.
    pub tables: Vec<Table>,
    /// Pictures; the text report leaves them out.
    pub plots: Vec<Plot>,
}

impl Section {
    /// An empty one.
    pub fn titled(title: impl Into<String>) -> Section {
        Section { title: title.into(), ..Section::default() }
    }

    /// Adds a value.
    pub fn fact(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.facts.push((what.into(), value.into()));
    }
}

/// A table; columns but the first are aligned right.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns' names, with their units.
    pub columns: Vec<String>,
    /// As many values as columns in each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub fn of(columns: &[&str]) -> Table {
        Table { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: Vec::new() }
    }
}

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By powers of ten.
    Log,
    /// Percentiles: 90, 99 and 99.9 are as far from each other.
    Percentile,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it tells, with its unit.
    pub title: String,
    /// How.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(title: impl Into<String>, scale: Scale) -> Axis {
        Axis { title: title.into(), scale }
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Points joined by lines.
    Line,
    /// Points.
    Points,
    /// A dashed line.
    Dashed,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Its title.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
}
