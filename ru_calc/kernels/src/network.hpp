// One evaluation: energies, forces and virial of all atoms, in passes over pairs and over tiles of atoms.
//
//   geometry     pairs within the cutoff; the ZBL core
//   embedding    angular only: A, invariants, s_0 -> h, z
//   blocks       m_i = Σ_j h_j ⊙ W(r_ij); s_k = silu(norm(D m_i)) -> h of later blocks, z
//   energy       E_i from z, and z̄
//   and the same backwards.  Threads meet at a barrier before each pass that reads what others wrote.
#pragma once
#include <barrier>
#include <future>
#include <mutex>
#include <thread>

#include "angular.hpp"

namespace ru {

constexpr int kTile = 48, kAngularTile = 12;

struct Request {
    const double* positions;  // (n, 3), the caller's order
    const double* images;     // (m, 3) translation of each image
    bool forces, virial;
    double *energies, *force, *virial_out;  // (n), (n, 3), (frames, 6)
};

template <class T> struct ThreadScratch {
    Buffer<T> tile, features, mixed, mixed_bar, a_bar, slope, head, gx, gy, gz;
    Buffer<double> force, virial, candidate;
    Weights<T> weights;
    AngularScratch<T> angular;

    size_t bytes() const {
        size_t total = sizeof(*this) + force.bytes() + virial.bytes() + candidate.bytes() + angular.bytes();
        for (const auto* b : {&tile, &features, &mixed, &mixed_bar, &a_bar, &slope, &head, &gx, &gy, &gz})
            total += b->bytes();
        return total;
    }
};

// What is kept between calls, so that no call pays for memory.  One call at a time.
template <class T> struct Workspace {
    std::mutex busy;
    Buffer<double> x;
    Geometry<T> geometry;
    std::vector<Buffer<T>> pre, h;
    Buffer<T> h_bar, z, density;
    Buffer<double> energy;
    std::vector<std::unique_ptr<ThreadScratch<T>>> scratch;

    size_t bytes() const {
        size_t total = x.bytes() + geometry.bytes() + h_bar.bytes() + z.bytes() + density.bytes() + energy.bytes();
        for (const auto& b : pre) total += b.bytes();
        for (const auto& b : h) total += b.bytes();
        for (const auto& s : scratch) total += s->bytes();
        return total;
    }
};

template <class T> class Step {
  public:
    Step(const Model<T>& model, const Plan& plan, Workspace<T>& work, const Request& request)
        : m_(model), plan_(plan), w_(work), ask_(request), meet_(plan.threads) {
        reserve();
    }

    void run() {
        std::vector<std::thread> others;
        std::promise<bool> all_started;
        std::shared_future<bool> go = all_started.get_future().share();
        try {
            for (int t = 1; t < plan_.threads; ++t)
                others.emplace_back([this, t, go] { if (go.get()) share(t); });
        } catch (...) {
            all_started.set_value(false);
            for (auto& thread : others) thread.join();
            throw;
        }
        all_started.set_value(true);
        share(0);
        for (auto& thread : others) thread.join();
    }

  private:
    static constexpr int L = lanes<T>;
    using V = Vec<T>;

    void reserve() {
        const size_t n = plan_.n_atoms;
        w_.x.ensure(3 * n + 3), w_.energy.ensure(n + 1), w_.z.ensure(n * m_.head + 1);
        w_.geometry.reserve(plan_.neighbors.size(), n);
        w_.pre.resize(m_.sources.size()), w_.h.resize(m_.blocks);
        for (auto& b : w_.pre) b.ensure(n * m_.channels + 1);
        for (int b = first_gathered(); b < m_.blocks; ++b) w_.h[b].ensure(n * m_.channels + 1);
        if (ask_.forces) w_.h_bar.ensure(n * m_.channels + 1);
        if (m_.angular) w_.density.ensure(n * m_.embedding.harmonics * m_.embedding.radial + 1);
        while (int(w_.scratch.size()) < plan_.threads) w_.scratch.push_back(std::make_unique<ThreadScratch<T>>());
        int longest = 1;
        for (size_t i = 0; i < n; ++i) longest = std::max(longest, int(plan_.row[3 * i + 3] - plan_.row[3 * i]));
        for (int t = 0; t < plan_.threads; ++t) reserve(*w_.scratch[t], n, longest);
    }

    void reserve(ThreadScratch<T>& s, size_t n, int longest) {
        s.tile.ensure(kTile * m_.channels), s.candidate.ensure(4 * size_t(longest) + 8);
        size_t head = m_.head;
        for (const auto& b : m_.head_dense_bias) head += b.size;
        s.head.ensure(2 * kTile * head + kTile);
        s.slope.ensure(Weights<T>::kMost * L);
        s.virial.ensure(6 * size_t(plan_.n_frames));
        if (ask_.forces || ask_.virial) s.force.ensure(3 * n + 3);
        if (!m_.angular) return;
        const auto& e = m_.embedding;
        s.features.ensure(kTile * e.features);
        s.mixed.ensure(size_t(kAngularTile) * e.harmonics * e.mixed);
        s.mixed_bar.ensure(size_t(kAngularTile) * e.harmonics * e.mixed);
        s.a_bar.ensure(size_t(kAngularTile) * e.harmonics * e.radial);
        s.gx.ensure(Weights<T>::kMost), s.gy.ensure(Weights<T>::kMost), s.gz.ensure(Weights<T>::kMost);
        s.angular.reserve(e);
    }

    int first_gathered() const { return m_.angular ? 0 : 1; }
    int source_of(int block) const { return block + m_.angular; }
    bool backward() const { return ask_.forces || ask_.virial; }
    void meet() { if (plan_.threads > 1) meet_.arrive_and_wait(); }
    T* pre(int k, int i) const { return w_.pre[k].get() + size_t(i) * m_.channels; }
    T* h(int b, int i) const { return w_.h[b].get() + size_t(i) * m_.channels; }
    T* z(int i) const { return w_.z.get() + size_t(i) * m_.head; }
    // h̄ of block b takes the memory of h of the block after it, which nobody reads any more.
    T* h_bar(int b) const { return b == m_.blocks - 1 ? w_.h_bar.get() : w_.h[b + 1].get(); }

    template <class F> void tiles(int begin, int end, F f) {
        for (int i = begin; i < end; i += kTile) f(i, std::min(kTile, end - i));
    }

    void share(int t) {
        const int begin = plan_.first_atom[t], end = plan_.first_atom[t + 1];
        ThreadScratch<T>& s = *w_.scratch[t];
        load_positions(begin, end);
        if (backward()) std::fill(s.force.get(), s.force.get() + 3 * size_t(plan_.n_atoms), 0.0);
        std::fill(s.virial.get(), s.virial.get() + 6 * size_t(plan_.n_frames), 0.0);
        meet();
        geometry(s, begin, end);
        start(begin, end);
        if (m_.angular) tiles(begin, end, [&](int i, int n) { embed(s, i, n); });
        for (int b = 0; b < m_.blocks; ++b) {
            if (b >= first_gathered()) meet();
            messages(s, b, begin, end);
            tiles(begin, end, [&](int i, int n) { forward(s, source_of(b), i, n); });
        }
        tiles(begin, end, [&](int i, int n) { energy(s, i, n); });
        if (backward()) reverse(s, begin, end);
        finish(t, begin, end);
    }

    void reverse(ThreadScratch<T>& s, int begin, int end) {
        for (int b = m_.blocks - 1; b >= 0; --b) {
            tiles(begin, end, [&](int i, int n) { reverse_block(s, b, i, n); });
            meet();
            reverse_messages(s, b, begin, end);
        }
        if (m_.angular) tiles(begin, end, [&](int i, int n) { reverse_embed(s, i, n); });
    }

    void load_positions(int begin, int end) {
        std::fill(w_.energy.get() + begin, w_.energy.get() + end, 0.0);
        for (int i = begin; i < end; ++i)
            for (int a = 0; a < 3; ++a) w_.x.get()[3 * i + a] = ask_.positions[3 * size_t(plan_.order[i]) + a];
    }

    // Compacts the pairs within the cutoff, row by row; differences in double.
    void geometry(ThreadScratch<T>& s, int begin, int end) {
        Geometry<T>& g = w_.geometry;
        const double cutoff2 = m_.cutoff * m_.cutoff, per_step = 1 / m_.step;
        double* near = s.candidate.get();
        int64_t at = begin < end ? plan_.row[3 * size_t(begin)] : 0;
        for (int i = begin; i < end; ++i) {
            const double* xi = w_.x.get() + 3 * size_t(i);
            Row& row = g.row.get()[i];
            row.begin = at;
            int counts[3], found = 0;
            for (int part = 0; part < 3; ++part) {
                const int before = found;
                for (int64_t q = plan_.row[3 * size_t(i) + part]; q < plan_.row[3 * size_t(i) + part + 1]; ++q) {
                    const Neighbor nb = plan_.neighbors[q];
                    const bool ahead = nb.image >= 0;
                    const double* shift = ask_.images + 3 * size_t(ahead ? nb.image : -1 - nb.image);
                    const double* xj = w_.x.get() + 3 * size_t(nb.atom);
                    const double sign = ahead ? 1.0 : -1.0;
                    const double dx = xj[0] - xi[0] + sign * shift[0], dy = xj[1] - xi[1] + sign * shift[1];
                    const double dz = xj[2] - xi[2] + sign * shift[2], r2 = dx * dx + dy * dy + dz * dz;
                    double* c = near + 4 * found;
                    c[0] = dx, c[1] = dy, c[2] = dz, c[3] = r2;
                    g.atom.get()[at + found] = nb.atom;
                    found += !(r2 >= cutoff2);
                }
                counts[part] = found - before;
            }
            row.both = counts[0], row.single = counts[1], row.back = counts[2];
            for (int p = 0; p < found; ++p) {
                const double* c = near + 4 * p;
                const double r = std::sqrt(c[3]), inverse = 1 / r, u = r * per_step;
                const int k = u < m_.intervals ? int(u) : m_.intervals - 1;  // the last one also for NaN
                g.interval.get()[at + p] = k, g.t.get()[at + p] = T(u - k);
                g.x.get()[at + p] = T(c[0] * inverse), g.y.get()[at + p] = T(c[1] * inverse);
                g.z.get()[at + p] = T(c[2] * inverse);
            }
            core(s, i, row, near);
            at += found;
        }
    }

    // ½ ZBL(r) for each end of each pair; see constants.py and ZBLCore in potentials/layers.py.
    void core(ThreadScratch<T>& s, int i, const Row& row, const double* near) {
        for (int p = 0; p < row.both + row.single; ++p) {
            const double* c = near + 4 * p;
            if (!(c[3] < m_.core_outer * m_.core_outer)) continue;
            const double r = std::sqrt(c[3]);
            double screen = 0, slope = 0;
            for (size_t k = 0; k < m_.core_terms.size(); k += 2) {
                const double decay = m_.core_terms[k + 1] / m_.core_length;
                const double term = m_.core_terms[k] * std::exp(-decay * r);
                screen += term, slope -= term * decay;
            }
            const double width = m_.core_outer - m_.core_inner, u = std::max(0.0, (r - m_.core_inner) / width);
            const double in = 1 - u, fade = in * in * in * (10 + in * (-15 + 6 * in)), dfade = -30 * u * u * (1 - u) * (1 - u) / width;
            const double e = m_.core_strength * screen * fade / r;
            const double de = m_.core_strength * (slope * fade + screen * dfade) / r - e / r;
            const double n[3] = {c[0] / r, c[1] / r, c[2] / r};
            const int j = w_.geometry.atom.get()[row.begin + p];
            w_.energy.get()[i] += 0.5 * e;
            if (p < row.both) w_.energy.get()[j] += 0.5 * e;
            if (backward()) pull(s, i, j, r, n, de, p < row.both);
        }
    }

    // Force and virial of dE/dr of a pair; a pair of one end only counts half in the virial: its other end counts too.
    void pull(ThreadScratch<T>& s, int i, int j, double r, const double* n, double slope, bool both) {
        double *fi = s.force.get() + 3 * size_t(i), *fj = s.force.get() + 3 * size_t(j);
        for (int a = 0; a < 3; ++a) {
            fi[a] += slope * n[a];
            if (both) fj[a] -= slope * n[a];
        }
        if (ask_.virial) add_virial(s, i, n, n, (both ? 1.0 : 0.5) * r * slope);
    }

    void add_virial(ThreadScratch<T>& s, int i, const double* r, const double* g, double scale) {
        double* v = s.virial.get() + 6 * size_t(plan_.frame[i]);
        v[0] += scale * r[0] * g[0], v[1] += scale * r[1] * g[1], v[2] += scale * r[2] * g[2];
        v[3] += 0.5 * scale * (r[1] * g[2] + r[2] * g[1]), v[4] += 0.5 * scale * (r[0] * g[2] + r[2] * g[0]);
        v[5] += 0.5 * scale * (r[0] * g[1] + r[1] * g[0]);
    }

    void start(int begin, int end) {
        for (int i = begin; i < end; ++i) {
            std::copy(m_.head_bias.get(), m_.head_bias.get() + m_.head, z(i));
            for (int b = first_gathered(); b < m_.blocks; ++b)
                std::copy(m_.start[b].get(), m_.start[b].get() + m_.channels, h(b, i));
        }
    }

    // Calls f(span) for the pairs of atom i that serve it, at most kMost at a time.
    template <class F> void spans(int i, F f) {
        const Row& row = w_.geometry.row.get()[i];
        const int n = row.both + row.single;
        for (int p = 0; p < n; p += Weights<T>::kMost) {
            const int count = std::min(n - p, Weights<T>::kMost);
            f(Span{i, row.begin + p, count, std::clamp(row.both - p, 0, count)});
        }
    }

    void messages(ThreadScratch<T>& s, int b, int begin, int end) {
        T* m = w_.pre[source_of(b)].get();
        const bool alike = b < first_gathered();
        for (int i = begin; i < end; ++i) {
            T* row = pre(source_of(b), i);
            if (alike) std::copy(m_.sources[source_of(b)].bias.get(), m_.sources[source_of(b)].bias.get() + m_.channels, row);
            else std::fill(row, row + m_.channels, T(0));
        }
        for (int i = begin; i < end; ++i)
            spans(i, [&](Span span) {
                row_weights<T>(m_, w_.geometry, span.begin, span.n, false, s.weights);
                in_chunks<T, kForward>(m_.channels, [&](auto ch, int c) {
                    if (alike) gather<T, ch, true>(m_.filters[b], w_.geometry, s.weights, span, c, nullptr, m);
                    else gather<T, ch, false>(m_.filters[b], w_.geometry, s.weights, span, c, w_.h[b].get(), m);
                });
            });
    }

    void reverse_messages(ThreadScratch<T>& s, int b, int begin, int end) {
        const T* m_bar = w_.pre[source_of(b)].get();
        const bool alike = b < first_gathered();
        T* bar = alike ? nullptr : h_bar(b);
        if (!alike) std::fill(bar + size_t(begin) * m_.channels, bar + size_t(end) * m_.channels, T(0));
        T* slope = s.slope.get();
        for (int i = begin; i < end; ++i)
            spans(i, [&](Span span) {
                row_weights<T>(m_, w_.geometry, span.begin, span.n, true, s.weights);
                std::fill(slope, slope + span.n * L, T(0));
                in_chunks<T, kReverse>(m_.channels, [&](auto ch, int c) {
                    if (alike) scatter_alike<T, ch>(m_.filters[b], w_.geometry, s.weights, span, c, m_bar, slope);
                    else scatter<T, ch>(m_.filters[b], w_.geometry, s.weights, span, c, w_.h[b].get(), m_bar, bar, slope);
                });
                for (int p = 0; p < span.n; ++p) pull(s, span, p, sum<T>(load<T>(slope + p * L)));
            });
    }

    void pull(ThreadScratch<T>& s, Span span, int p, T slope) {
        const Geometry<T>& g = w_.geometry;
        const int64_t q = span.begin + p;
        const double n[3] = {double(g.x.get()[q]), double(g.y.get()[q]), double(g.z.get()[q])};
        pull(s, span.atom, g.atom.get()[q], distance(q), n, double(slope), p < span.n_both);
    }

    double distance(int64_t q) const {
        return (w_.geometry.interval.get()[q] + double(w_.geometry.t.get()[q])) * m_.step;
    }

    // s = silu(norm(a)) of one row.
    void activate(const Source<T>& source, const T* a, T* s) const {
        const T inverse = source.norm ? inverse_norm(a) : T(1);
        for (int c = 0; c < m_.channels; c += L) {
            V y = load<T>(a + c);
            if (source.norm) y = y * inverse * load<T>(source.scale.get() + c) + load<T>(source.offset.get() + c);
            store<T>(s + c, y * sigmoid<T>(y));
        }
    }

    T inverse_norm(const T* a) const {
        V total{};
        for (int c = 0; c < m_.channels; c += L) total += load<T>(a + c) * load<T>(a + c);
        return T(1) / std::sqrt(sum<T>(total) / T(m_.width) + m_.norm_eps);
    }

    static V silu_slope(V y) {
        const V g = sigmoid<T>(y);
        return g * (T(1) + y * (T(1) - g));
    }

    // s̄ becomes ā.
    void activate_reverse(const Source<T>& source, const T* a, T* bar) const {
        if (!source.norm) {
            for (int c = 0; c < m_.channels; c += L)
                store<T>(bar + c, load<T>(bar + c) * silu_slope(load<T>(a + c)));
            return;
        }
        const T inverse = inverse_norm(a);
        V total{};
        for (int c = 0; c < m_.channels; c += L) {
            const V x = load<T>(a + c) * inverse, scale = load<T>(source.scale.get() + c);
            const V g = load<T>(bar + c) * silu_slope(x * scale + load<T>(source.offset.get() + c)) * scale;
            total += g * x;
            store<T>(bar + c, g);
        }
        const T mean = sum<T>(total) / T(m_.width);
        for (int c = 0; c < m_.channels; c += L)
            store<T>(bar + c, inverse * (load<T>(bar + c) - load<T>(a + c) * inverse * mean));
    }

    // From messages (already in `pre`) to s_k and on to later blocks and the head.
    void forward(ThreadScratch<T>& s, int k, int i, int n) {
        const Source<T>& source = m_.sources[k];
        T* tile = s.tile.get();
        if (!source.in.empty()) {
            for (int r = 0; r < n; ++r) std::copy(source.bias.get(), source.bias.get() + m_.channels, tile + r * m_.channels);
            multiply<T>(n, pre(k, i), m_.channels, source.in.forward, tile, m_.channels, true);
            std::copy(tile, tile + n * m_.channels, pre(k, i));
        }
        send(s, k, i, n);
    }

    void send(ThreadScratch<T>& s, int k, int i, int n) {
        const Source<T>& source = m_.sources[k];
        T* tile = s.tile.get();
        for (int r = 0; r < n; ++r) activate(source, pre(k, i + r), tile + r * m_.channels);
        for (int b = first_gathered(); b < m_.blocks; ++b)
            if (!source.to_block[b].empty())
                multiply<T>(n, tile, m_.channels, source.to_block[b].forward, h(b, i), m_.channels, true);
        multiply<T>(n, tile, m_.channels, source.to_head.forward, z(i), m_.head, true);
    }

    // s̄_k of a tile, made ā_k, in s.tile.
    void collect(ThreadScratch<T>& s, int k, int i, int n) {
        const Source<T>& source = m_.sources[k];
        T* tile = s.tile.get();
        multiply<T>(n, z(i), m_.head, source.to_head.backward, tile, m_.channels, false);
        for (int b = first_gathered(); b < m_.blocks; ++b)
            if (!source.to_block[b].empty())
                multiply<T>(n, h_bar(b) + size_t(i) * m_.channels, m_.channels, source.to_block[b].backward, tile,
                            m_.channels, true);
        for (int r = 0; r < n; ++r) activate_reverse(source, pre(k, i + r), tile + r * m_.channels);
    }

    // m̄ of block b into `pre`.
    void reverse_block(ThreadScratch<T>& s, int b, int i, int n) {
        const int k = source_of(b);
        collect(s, k, i, n);
        if (m_.sources[k].in.empty()) std::copy(s.tile.get(), s.tile.get() + n * m_.channels, pre(k, i));
        else multiply<T>(n, s.tile.get(), m_.channels, m_.sources[k].in.backward, pre(k, i), m_.channels, false);
    }

    // E_i from z; z becomes z̄.
    void energy(ThreadScratch<T>& s, int i, int n) {
        const int layers = int(m_.head_dense.size());
        T *a = s.head.get(), *first = a;  // activations of each layer, then its pre-activations
        std::vector<std::pair<T*, T*>> kept;
        const T* value = z(i);
        int width = m_.head;
        for (int k = 0; k <= layers; ++k) {
            T* out = first;
            for (int q = 0; q < n * width; q += L) {
                const V y = load<T>(value + q);
                store<T>(out + q, m_.linear_head ? y : y * sigmoid<T>(y));
            }
            kept.push_back({const_cast<T*>(value), out});
            first += kTile * width;
            if (k == layers) break;
            const Vector<T>& bias = m_.head_dense_bias[k];
            for (int r = 0; r < n; ++r) std::copy(bias.get(), bias.get() + bias.size, first + r * bias.size);
            multiply<T>(n, out, width, m_.head_dense[k].forward, first, bias.size, true);
            value = first, width = bias.size, first += kTile * width;
        }
        const T *w = m_.energy_weight.get(), *out = kept.back().second;
        for (int r = 0; r < n; ++r) {
            double e = 0;
            for (int c = 0; c < width; ++c) e += double(w[c]) * double(out[r * width + c]);
            w_.energy.get()[i + r] += e + m_.energy_bias;
        }
        if (!backward()) return;
        for (int k = layers; k >= 0; --k) {
            auto [y, bar] = kept[k];
            width = k ? m_.head_dense_bias[k - 1].size : m_.head;
            if (k == layers)
                for (int r = 0; r < n; ++r) std::copy(w, w + width, bar + r * width);
            for (int q = 0; q < n * width; q += L)
                store<T>(bar + q, m_.linear_head ? load<T>(bar + q) : load<T>(bar + q) * silu_slope(load<T>(y + q)));
            if (k) multiply<T>(n, bar, width, m_.head_dense[k - 1].backward, kept[k - 1].second,
                               int(k > 1 ? m_.head_dense_bias[k - 2].size : m_.head), false);
            else std::copy(bar, bar + n * width, z(i));
        }
    }

    // Y and R of at most kMost pairs of an atom, seen from it.
    void see(ThreadScratch<T>& s, int64_t begin, int n, bool slope) {
        const auto& e = m_.embedding;
        row_weights<T>(m_, w_.geometry, begin, n, slope, s.weights);
        harmonics<T>(e, w_.geometry, begin, n, s.angular.y.get());
        radial<T>(e, w_.geometry, s.weights, begin, n, s.angular.radial.get(),
                  slope ? s.angular.radial_slope.get() : nullptr);
    }

    template <class F> void all_neighbors(int i, F f) {
        const Row& row = w_.geometry.row.get()[i];
        const int n = row.both + row.single + row.back;
        for (int p = 0; p < n; p += Weights<T>::kMost) f(row.begin + p, std::min(n - p, Weights<T>::kMost));
    }

    T* density_of(int i) const {
        return w_.density.get() + size_t(i) * m_.embedding.harmonics * m_.embedding.radial;
    }

    template <class F> void angular_tiles(int begin, int n, F f) {
        for (int q = 0; q < n; q += kAngularTile) f(begin + q, q, std::min(kAngularTile, n - q));
    }

    void mix(ThreadScratch<T>& s, int i, int n) {
        const auto& e = m_.embedding;
        multiply<T>(n * e.harmonics, density_of(i), e.radial, e.mix.forward, s.mixed.get(), e.mixed, false);
    }

    void embed(ThreadScratch<T>& s, int begin, int n) {
        const auto& e = m_.embedding;
        T* f = s.features.get();
        for (int i = begin; i < begin + n; ++i) {
            std::fill(density_of(i), density_of(i) + e.harmonics * e.radial, T(0));
            all_neighbors(i, [&](int64_t first, int count) {
                see(s, first, count, false);
                density<T>(e, count, s.angular.y.get(), s.angular.radial.get(), density_of(i));
            });
        }
        angular_tiles(begin, n, [&](int i, int q, int count) {
            mix(s, i, count);
            for (int r = 0; r < count; ++r)
                invariants<T>(e, density_of(i + r), s.mixed.get() + r * e.harmonics * e.mixed,
                              s.angular.products.get(), s.angular.sums.get(), f + (q + r) * e.features);
        });
        for (int q = 0; q < n * e.features; q += L) store<T>(f + q, arsinh<T>(load<T>(f + q)));
        const Source<T>& source = m_.sources[0];
        for (int i = begin; i < begin + n; ++i) std::copy(source.bias.get(), source.bias.get() + m_.channels, pre(0, i));
        multiply<T>(n, f, e.features, source.in.forward, pre(0, begin), m_.channels, true);
        send(s, 0, begin, n);
    }

    void reverse_embed(ThreadScratch<T>& s, int begin, int n) {
        const auto& e = m_.embedding;
        T* f_bar = s.features.get();
        collect(s, 0, begin, n);
        multiply<T>(n, s.tile.get(), m_.channels, m_.sources[0].in.backward, f_bar, e.features, false);
        angular_tiles(begin, n, [&](int i, int q, int count) {
            mix(s, i, count);
            for (int r = 0; r < count; ++r) reverse_invariants(s, i + r, r, f_bar + (q + r) * e.features);
            multiply<T>(count * e.harmonics, s.mixed_bar.get(), e.mixed, e.mix.backward, s.a_bar.get(), e.radial, true);
            for (int r = 0; r < count; ++r) reverse_density(s, i + r, s.a_bar.get() + r * e.harmonics * e.radial);
        });
    }

    void reverse_invariants(ThreadScratch<T>& s, int i, int r, T* f_bar) {
        const auto& e = m_.embedding;
        const T* mixed = s.mixed.get() + r * e.harmonics * e.mixed;
        T* value = s.angular.value.get();
        invariants<T>(e, density_of(i), mixed, s.angular.products.get(), s.angular.sums.get(), value);
        for (int c = 0; c < e.features; c += L) {
            const V x = load<T>(value + c);
            store<T>(f_bar + c, load<T>(f_bar + c) / square_root<T>(T(1) + x * x));
        }
        invariants_reverse<T>(e, density_of(i), mixed, s.angular.sums.get(), f_bar,
                              s.a_bar.get() + r * e.harmonics * e.radial, s.mixed_bar.get() + r * e.harmonics * e.mixed);
    }

    void reverse_density(ThreadScratch<T>& s, int i, const T* a_bar) {
        const auto& e = m_.embedding;
        const Geometry<T>& g = w_.geometry;
        double* fi = s.force.get() + 3 * size_t(i);
        all_neighbors(i, [&](int64_t first, int count) {
            see(s, first, count, true);
            density_reverse<T>(e, g, first, count, a_bar, s.angular, m_.step, s.gx.get(), s.gy.get(), s.gz.get());
            for (int p = 0; p < count; ++p) {
                const double d[3] = {double(s.gx.get()[p]), double(s.gy.get()[p]), double(s.gz.get()[p])};
                double* fj = s.force.get() + 3 * size_t(g.atom.get()[first + p]);
                for (int a = 0; a < 3; ++a) fi[a] += d[a], fj[a] -= d[a];
                if (!ask_.virial) continue;
                const double n[3] = {double(g.x.get()[first + p]), double(g.y.get()[first + p]),
                                     double(g.z.get()[first + p])};
                add_virial(s, i, n, d, distance(first + p));
            }
        });
    }

    void finish(int t, int begin, int end) {
        for (int i = begin; i < end; ++i) ask_.energies[plan_.order[i]] = w_.energy.get()[i] + m_.zero;
        if (!backward()) return;
        meet();
        for (int i = begin; ask_.forces && i < end; ++i)
            for (int a = 0; a < 3; ++a) {
                double total = 0;
                for (int k = 0; k < plan_.threads; ++k) total += w_.scratch[k]->force.get()[3 * size_t(i) + a];
                ask_.force[3 * size_t(plan_.order[i]) + a] = total;
            }
        if (!ask_.virial || t > 0) return;
        for (int q = 0; q < 6 * plan_.n_frames; ++q) {
            ask_.virial_out[q] = 0;
            for (int k = 0; k < plan_.threads; ++k) ask_.virial_out[q] += w_.scratch[k]->virial.get()[q];
        }
    }

#if RU_VECTOR_BYTES == 64
    static constexpr int kForward = 8, kReverse = 4;
#else
    static constexpr int kForward = 4, kReverse = 2;
#endif

    const Model<T>& m_;
    const Plan& plan_;
    Workspace<T>& w_;
    const Request ask_;
    std::barrier<> meet_;
};

}  // namespace ru
