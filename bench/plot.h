/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmarks' plots have in common: gnuplot, which gets its script and data through a pipe, the head
 * of a picture, and colours.
 *
 * The colours are Okabe and Ito's ("Color Universal Design", 2008), which people with any kind of colour
 * vision can tell apart; point shapes and dashes should say the same once more.
 */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include <stdbool.h>
#include <stdio.h>
#include "machine.h"

#define BLACK     "#000000"
#define GREY      "#7f7f7f"
#define ORANGE    "#e69f00"
#define SKY       "#56b4e9"
#define GREEN     "#009e73"
#define BLUE      "#0072b2"
#define VERMILION "#d55e00"
#define PURPLE    "#cc79a7"

/* Makes the folder if need be and starts gnuplot. NULL, with a line on stderr, if that cannot be. */
FILE *plot_open(const char *program, const char *folder);
/* False, with a line on stderr, if gnuplot is missing or failed. */
bool plot_close(const char *program, const char *folder, FILE *to);

/* A text in single quotes, as gnuplot reads them. */
void plot_quoted(FILE *to, const char *text);
/* Begins a picture: file, title, what it was measured on, key and grid. */
void plot_head(FILE *to, const machine *m, const char *folder, const char *file, const char *title);

#endif
