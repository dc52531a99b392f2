#include <filesystem>
#include <string_view>
#include <vector>

#include "engine/config/solver_problem.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/files/decimal.h"
#include "engine/report/html.h"
#include "engine/report/narrative.h"
#include "engine/report/page_parts.h"
#include "engine/report/report.h"

namespace tvmap {
namespace {

std::string element(const char* name, const std::string& content) {
    return text("<", name, ">", html_text(content), "</", name, ">\n");
}

std::string figure(const std::string& picture, const std::string& caption) {
    return picture.empty()
               ? ""
               : "<figure>" + picture + "\n<figcaption>" + html_text(caption) + "</figcaption></figure>\n";
}

std::string figures(const RunRecord& run) {
    std::string part;
    for (const ReportedFigure& f : reported_figures)
        part +=
            figure(html_picture(run.path(text(f.name, ".svg")), text(f.name, " of ", run.name)), f.caption);
    return part.empty()
               ? element("p", "The figures are not there: gnuplot draws them when a run is evaluated.")
               : part;
}

/// One image, of which one picture is shown at a time.
std::string flip(const RunRecord& run, const std::string& name, const std::string& group) {
    const std::pair<const char*, const char*> kinds[] = {{"noisy", "noisy"},
                                                         {"best scalar λ", "scalar"},
                                                         {method_name(run.config), "map"},
                                                         {"clean", "clean"},
                                                         {"Λ", "lambda"},
                                                         {"Λ, horizontal", "lambda_horizontal"}};
    std::string choices, pictures;
    int number = 0;
    for (const auto& [title, kind] : kinds) {
        const std::string picture =
            html_picture(run.path(text("images/", name, "_", kind, ".png")), text(name, ": ", title));
        if (picture.empty()) continue;
        const std::string id = text(group, "-", ++number);
        choices += text("<input type=\"radio\" name=\"", group, "\" id=\"", id, "\"",
                        number == 1 ? " checked" : "", "><label for=\"", id, "\">", title, "</label>\n");
        pictures += picture + "\n";
    }
    return number == 0 ? ""
                       : "<fieldset class=\"flip\"><legend>" + html_text(name) + "</legend>\n" + choices +
                             "<div class=\"pictures\">\n" + pictures + "</div></fieldset>\n";
}

std::string examples(const RunRecord& run, int number, int pictures) {
    const std::vector<std::string> names = run.examples(std::size_t(pictures));
    if (names.empty()) return "";
    std::string part =
        element("h3", "Examples") +
        element("p",
                "Choose what is shown of an image. Noisy and restored ones are cut off at black and white. "
                "Λ on a logarithmic scale of its own, dark where it smooths little; where there are two, "
                "that of vertical differences comes first.") +
        "<div class=\"flips\">\n";
    for (std::size_t i = 0; i < names.size(); ++i)
        part += flip(run, names[i], text("flip-", number, "-", i + 1));
    part += "</div>\n";
    part += figure(html_picture(run.path("images/" + names[0] + "_panel.png"), "panel of " + names[0]),
                   "The first image: clean, noisy, restored with its best scalar λ and with the learned map; "
                   "a detail of each; "
                   "Λ on a logarithmic scale, and the absolute errors on one scale.");
    part += figure(html_picture(run.path("images/" + names[0] + "_maps.png"), "maps of " + names[0]),
                   "Its map Λ by value and by logarithm, and how log Λ is distributed, all below the axis "
                   "counted at its "
                   "left end. Dark: little smoothing.");
    return part;
}

std::string image_table(const RunRecord& run) {
    struct Column {
        const char* key;
        std::string title;
        int decimals;
        bool sign = false;
    };
    const std::string restored = method_name(run.config);
    const Column columns[] = {{"sigma", "σ", 3},
                              {"noisy_psnr", "noisy, dB", 2},
                              {"scalar_psnr", "scalar λ, dB", 2},
                              {"map_psnr", restored + ", dB", 2},
                              {"gain_psnr", "gain, dB", 2, true},
                              {"noisy_ssim", "noisy, SSIM", 3},
                              {"scalar_ssim", "scalar λ, SSIM", 3},
                              {"map_ssim", restored + ", SSIM", 3},
                              {"gain_ssim", "gain, SSIM", 3, true},
                              {"scalar_lambda_psnr", "best λ", 3}};
    std::vector<Column> shown;
    for (const Column& c : columns)  // one σ for all images stands above
        if (c.key != std::string_view("sigma") || !run.config.evaluate.sigma.fixed()) shown.push_back(c);
    std::string part =
        "<div class=\"images-part\">\n<p class=\"filter\"><label>Names with <input type=\"search\"></label> "
        "<span class=\"count\"></span></p>\n"
        "<div class=\"images-box\"><table class=\"images\">\n<thead><tr><th scope=\"col\"><button "
        "type=\"button\">image</button></th>";
    for (const Column& c : shown)
        part += text("<th scope=\"col\"><button type=\"button\">", c.title, "</button></th>");
    part += "</tr></thead>\n<tbody>\n";
    for (std::size_t r = 0; r < run.images.rows(); ++r) {
        part += "<tr><th scope=\"row\">" + html_text(run.images.at(r, "name")) + "</th>";
        for (const Column& c : shown) {
            const std::string& field = run.images.at(r, c.key);
            const auto value = parse_decimal<double>(field);
            part += "<td>" + (value ? fixed_number(*value, c.decimals, c.sign) : html_text(field)) + "</td>";
        }
        part += "</tr>\n";
    }
    return part + "</tbody>\n</table></div></div>\n";
}

std::string section(const RunRecord& run, int number, int pictures) {
    std::string part = text("<section id=\"run-", number, "\">\n", element("h2", run.name));
    for (const std::string& paragraph : opening(run)) part += element("p", paragraph);
    part += element("h3", "Result") + html_table(result_table(run), "result") + element("p", verdict(run));
    part += element("h3", "Figures") + figures(run) + examples(run, number, pictures);
    part += element("h3", "Every image") + image_table(run);
    part += element("h3", "Machine and versions") + html_table(machine_table(run), "facts");
    std::string lines;
    for (const std::string& command : commands(run)) lines += command + "\n";
    part += element("h3", "Commands") + element("pre", lines);
    if (run.training && !run.training->log.empty()) {
        lines.clear();
        for (const std::string& line : run.training->log) lines += line + "\n";
        part += element("h3", "Log of the training") + element("pre", lines);
    }
    part += element("h3", "Settings") +
            "<details><summary>all that it was evaluated with; 0 stands for automatic or for none</summary>" +
            element("pre", run.yaml) + "</details>\n";
    return part + "</section>\n";
}

}  // namespace

std::string html_report(const std::vector<RunRecord>& runs, int pictures) {
    std::string title = "tvmap:", links;
    for (std::size_t r = 0; r < runs.size(); ++r) {
        title += (r ? ", " : " ") + runs[r].name;
        links += text(r ? ", " : "", "<a href=\"#run-", r + 1, "\">", html_text(runs[r].name), "</a>");
    }
    std::string page =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n<link rel=\"icon\" href=\"data:,\">\n" +
        element("title", title) + "<style>" + page_style + "</style>\n</head>\n<body>\n";
    page += element("h1", runs.size() == 1 ? "A learned regularisation map against the best scalar"
                                           : "Learned regularisation maps against the best scalar");
    if (runs.size() > 1)
        page += "<section id=\"comparison\">\n" + element("h2", "Runs side by side") +
                html_table(comparison_table(runs), "comparison") + "<p>Each run by itself: " + links +
                ".</p>\n</section>\n";
    for (std::size_t r = 0; r < runs.size(); ++r) page += section(runs[r], int(r) + 1, pictures);
    return page + "<script>" + page_script + "</script>\n</body>\n</html>\n";
}

}  // namespace tvmap
