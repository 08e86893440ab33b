//! Tables for people: columns as wide as their widest cell, two spaces between them.

/// Rows under a header. Not for streams: it sees all rows before it prints the first.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with this header.
    pub(crate) fn new(header: [&str; N]) -> Table<N> {
        Table { rows: vec![header.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Whether it has no row besides the header.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        self.rows.iter().map(move |row| {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::show::table::Table;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new(["ID", "STATE"]);
        table.row(["a".to_owned(), "ready".to_owned()]);
        table.row(["long".to_owned(), String::new()]);
        assert_eq!(table.lines().collect::<Vec<_>>(), ["ID    STATE", "a     ready", "long"]);
    }
}
