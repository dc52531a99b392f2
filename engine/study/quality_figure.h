// What the trainings of a study come to, as a figure.
#pragma once
#include <optional>

#include "engine/figures/gnuplot.h"
#include "engine/study/study.h"

namespace tvmap {

/// `quality`, from iterations.csv: the gain over the best scalar λ, by T of the test, a panel for each question that the
/// trainings answer: which gradient, how many steps T, learned step sizes. The panels have one scale. What lies so far
/// below (three interquartile ranges, as Tukey has it of far outliers) that it would press the others into one line is cut,
/// and named with its least value. None where no validation image counts.
std::optional<Figure> quality_figure(const StudyResult& study);

}  // namespace tvmap
