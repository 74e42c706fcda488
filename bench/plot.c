/* SPDX-License-Identifier: Apache-2.0 */
#include "plot.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

FILE *plot_open(const char *program, const char *folder)
{
    FILE *to;

    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "%s: cannot make %s: %s\n", program, folder, strerror(errno));
        return NULL;
    }
    /* Without gnuplot the pipe breaks; the exit status says so. */
    signal(SIGPIPE, SIG_IGN);
    fflush(NULL);
    to = popen("gnuplot", "w");
    if (to == NULL)
        fprintf(stderr, "%s: no plots: gnuplot cannot be started: %s\n", program, strerror(errno));
    return to;
}

bool plot_close(const char *program, const char *folder, FILE *to)
{
    if (pclose(to) == 0)
        return true;
    fprintf(stderr, "%s: no plots: gnuplot is missing or failed; is gnuplot installed, and %s writable?\n",
            program, folder);
    return false;
}

/* In single quotes only they are special. */
void plot_quoted(FILE *to, const char *text)
{
    fputc('\'', to);
    for (; *text != '\0'; text++)
        fprintf(to, *text == '\'' ? "''" : "%c", *text);
    fputc('\'', to);
}

void plot_head(FILE *to, const machine *m, const char *folder, const char *file, const char *title)
{
    fprintf(to, "reset\nset terminal svg size 960,600 dynamic enhanced background '#ffffff' "
                "font 'DejaVu Sans,13' linewidth 1\n");
    fprintf(to, "set output ");
    plot_quoted(to, folder);
    fprintf(to, ".'/%s'\n", file);
    /* The title as labels, because a title cannot be set flush with the axis. */
    fprintf(to, "unset label\nunset arrow\nset tmargin 5.5\nset label 1 ");
    plot_quoted(to, title);
    fprintf(to,
            " at graph 0, screen 0.96 left font ',16'\nset label 2 '%s (%s); %s; IPsec-MB %s' "
            "at graph 0, screen 0.91 left font ',10.5' textcolor rgb '#404040'\n",
            m->cpu, m->cpu_class, m->openssl, m->ipsec_mb);
    fprintf(to, "set key outside right top Left reverse samplen 2.5 spacing 1.2\n"
                "set border 3 lc rgb '#404040'\nset tics nomirror out\nset mytics 10\n"
                "set grid xtics ytics lc rgb '#cccccc' lw 0.6 dt 1\n");
}
