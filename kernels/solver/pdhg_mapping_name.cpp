// Mappings in words, as they are kept and shown: "tiles 48x16, k = 8", "clusters of 8", "clusters of 8,
// neighbours", "15 as clusters of 8, then tiles 48x16, k = 1", "global".
#include <charconv>
#include <optional>

#include "kernels/base/error.h"
#include "kernels/solver/pdhg.h"

namespace tvmap::cuda {
namespace {

using Kind = PdhgMapping::Kind;

std::string tiles_name(const PdhgMapping& m) {
    return text("tiles ", m.tile_rows, "x", m.tile_columns, ", k = ", m.steps);
}

/// Takes words and numbers from the front of a text.
class Reader {
  public:
    explicit Reader(const std::string& rest) : rest_(rest) {}
    bool word(const std::string& expected) {
        if (!rest_.starts_with(expected)) return false;
        rest_.erase(0, expected.size());
        return true;
    }
    bool number(int* value) {
        const char* const begin = rest_.data();
        const auto [end, error] = std::from_chars(begin, begin + rest_.size(), *value);
        if (error != std::errc() || *value < 1 || *value > most) return false;
        rest_.erase(0, std::size_t(end - begin));
        return true;
    }
    bool tiles(PdhgMapping* m) {
        return word("tiles ") && number(&m->tile_rows) && word("x") && number(&m->tile_columns) &&
               word(", k = ") && number(&m->steps);
    }
    bool at_end() const { return rest_.empty(); }

  private:
    static constexpr int most = 1 << 20;  // no product of two of them, with a rim, leaves 64 bits
    std::string rest_;
};

}  // namespace

std::string mapping_name(const PdhgMapping& m) {
    if (m.kind == Kind::global) return "global";
    if (m.kind == Kind::tiles) return tiles_name(m);
    const std::string clusters = text("clusters of ", m.cluster, m.neighbours ? ", neighbours" : "");
    return m.in_clusters == 0 ? clusters : text(m.in_clusters, " as ", clusters, ", then ", tiles_name(m));
}

std::optional<PdhgMapping> mapping_named(const std::string& name) {
    PdhgMapping m;
    Reader reader(name);
    if (name == "global") return m;
    if (name.starts_with("tiles ")) {
        m.kind = Kind::tiles;
        return reader.tiles(&m) && reader.at_end() ? std::optional(m) : std::nullopt;
    }
    m.kind = Kind::cluster;
    const bool mixed = !name.starts_with("clusters of ");
    if (mixed && !(reader.number(&m.in_clusters) && reader.word(" as "))) return {};
    if (!(reader.word("clusters of ") && reader.number(&m.cluster))) return {};
    m.neighbours = reader.word(", neighbours");
    if (mixed && !(reader.word(", then ") && reader.tiles(&m))) return {};
    return reader.at_end() ? std::optional(m) : std::nullopt;
}

}  // namespace tvmap::cuda
