//! How the CPU of a job grows with what should cost nothing: jobs that wait, queues. As a power of their number: 0 is not at
//! all, 1 in proportion.

use crate::cli::bench::figures::Figures;

/// Of what there was more and more in a series, and how much of it.
fn size(figures: &Figures) -> Option<(&'static str, f64)> {
    let waiting = figures.pending.map(|jobs| ("jobs waiting", jobs as f64));
    waiting.or_else(|| figures.queues.map(|queues| ("queues", queues as f64)))
}

/// Tells of each in a series what it costs against the first, and as which power of its size that grew.
pub(in crate::cli::bench) fn compare(series: &mut [Figures], cost: impl Fn(&Figures) -> Option<f64>) {
    let Some(first) = series.first() else { return };
    let (Some(smallest), first_size) = (cost(first), size(first)) else { return };
    for figures in series.iter_mut().skip(1) {
        figures.times_the_smallest = cost(figures).map(|cost| cost / smallest);
        let larger = first_size.zip(size(figures)).map(|((_, first), (_, size))| size / first);
        let exponent = figures.times_the_smallest.zip(larger).map(|(times, larger)| times.ln() / larger.ln());
        figures.growth_exponent = exponent.filter(|exponent| exponent.is_finite());
    }
}

/// A series as a table for people; nothing for one of which that cannot be told.
pub(in crate::cli::bench) fn table(series: &[Figures]) -> Vec<String> {
    if series.iter().all(|figures| figures.growth_exponent.is_none()) {
        return Vec::new();
    }
    let of = series.first().and_then(size).map_or("", |(of, _)| of);
    let row = |[size, cost, times, exponent]: [String; 4]| {
        format!("growth {size:>12} {cost:>18} {times:>7} {exponent:>9}")
    };
    let head = row([of, "server's us a job", "times", "exponent"].map(str::to_owned));
    let rows = series.iter().map(|figures| {
        let told =
            |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"));
        row([
            size(figures).map_or_else(String::new, |(_, size)| size.to_string()),
            told(figures.server_cpu_us_per_job),
            told(figures.times_the_smallest),
            told(figures.growth_exponent),
        ])
    });
    std::iter::once(head).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::bench::figures::Figures;
    use crate::cli::bench::growth::compare;
    use crate::cli::bench::growth::table;

    fn series(sizes_and_costs: &[(u64, f64)]) -> Vec<Figures> {
        let figures = |(size, cost): &(u64, f64)| Figures {
            pending: Some(*size),
            server_cpu_us_per_job: Some(*cost),
            ..Figures::default()
        };
        let mut series: Vec<Figures> = sizes_and_costs.iter().map(figures).collect();
        compare(&mut series, |figures| figures.server_cpu_us_per_job);
        series
    }

    #[test]
    fn growth_is_the_power_of_the_size_by_which_the_cost_rose() {
        let series = series(&[(1_000, 4.0), (100_000, 4.0), (1_000_000, 4_000.0), (1_000, 5.0)]);
        let exponents: Vec<Option<f64>> = series.iter().map(|figures| figures.growth_exponent).collect();
        assert_eq!(exponents, [None, Some(0.0), Some(1.0), None], "of the same size it cannot be told");
        assert_eq!(series[3].times_the_smallest, Some(1.25));
        let told = [
            "growth jobs waiting  server's us a job   times  exponent",
            "growth         1000              4.000       -         -",
            "growth       100000              4.000   1.000     0.000",
            "growth      1000000           4000.000 1000.000     1.000",
            "growth         1000              5.000   1.250         -",
        ];
        assert_eq!(table(&series), told);
    }

    #[test]
    fn a_series_without_sizes_is_compared_and_has_no_table() {
        let figures = |cost| Figures { server_cpu_us_per_job: Some(cost), ..Figures::default() };
        let mut series = [figures(2.0), figures(3.0)];
        compare(&mut series, |figures| figures.server_cpu_us_per_job);
        assert_eq!((series[1].times_the_smallest, series[1].growth_exponent), (Some(1.5), None));
        assert!(table(&series).is_empty());
    }
}
