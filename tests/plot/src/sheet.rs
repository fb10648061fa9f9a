//! What all drawings are drawn on: size, colours, text.

use std::fmt::{self, Write as _};

pub(crate) const WIDTH: f64 = 820.0;
/// Where the title stands, and where drawing begins below it.
const TITLE: f64 = 22.0;
pub(crate) const TOP: f64 = 36.0;
/// Of lines and bars; more of them begin anew.
const COLOURS: usize = 4;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:15px}.heading{font-weight:600}\
.grid{stroke:#8884;fill:none}.mark{fill:#8883}.range{stroke:#24292f}polyline{fill:none;stroke-width:1.5}\
.c0{--c:#1f6fb2}.c1{--c:#c4622d}.c2{--c:#4a8f4a}.c3{--c:#8a5aa8}rect.c0,rect.c1,rect.c2,rect.c3{fill:var(--c)}\
polyline{stroke:var(--c)}text.c0,text.c1,text.c2,text.c3{fill:var(--c)}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.range{stroke:#e6edf3}\
.c0{--c:#6ab0ee}.c1{--c:#f0965f}.c2{--c:#86c986}.c3{--c:#c39be0}}";

#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing that grows; [`Sheet::finish`] makes the file of it.
pub(crate) struct Sheet {
    body: String,
}

impl Sheet {
    pub(crate) fn new() -> Self {
        Self { body: String::new() }
    }

    /// An element of SVG.
    pub(crate) fn draw(&mut self, element: fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    pub(crate) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.draw(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub(crate) fn finish(self, title: &str, height: f64) -> String {
        let title = escaped(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title><style>{STYLE}</style>\n\
             <text class=\"title\" x=\"12\" y=\"{TITLE}\">{title}</text>\n{}</svg>\n",
            self.body
        )
    }
}

/// The class of the n-th colour.
pub(crate) fn colour(number: usize) -> String {
    format!("c{}", number % COLOURS)
}

/// A figure with as many digits as an axis has room for.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
