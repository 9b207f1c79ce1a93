// Pictures: embedded ones, those beside the page, and a served page's own.

const beside = new Set(data.beside);
const SMALL = 64; // px; up to here single pixels are shown
const MOST = 16; // times a small picture is enlarged; in larger blocks nobody sees what it shows

function asPixels(img) {
  const small = Math.max(img.naturalWidth, img.naturalHeight) <= SMALL;
  img.classList.toggle("pixels", small);
  img.style.maxWidth = small ? `${MOST * img.naturalWidth}px` : "";
  img.style.maxHeight = small ? `${MOST * img.naturalHeight}px` : "";
}

// Address of a row's thumbnail, "" where there is none.
function thumbnailOf(row) {
  if (data.pictures[row]) return `data:image/webp;base64,${data.pictures[row]}`;
  if (data.served) return `/thumbnail/${row}.webp`;
  return beside.has(row) ? `report-images/${row}.webp` : "";
}

function picture(row, alt) {
  const address = row < 0 ? "" : thumbnailOf(row);
  if (!address) return el("span", { className: "none" }, row < 0 ? "no example" : "no picture");
  const img = el("img", { alt, decoding: "async", loading: "lazy", draggable: false });
  img.addEventListener("load", () => asPixels(img));
  img.addEventListener("error", () => img.replaceWith(el("span", { className: "none" }, "picture not found")));
  img.src = address;
  return img;
}

let loading = null; // the large picture under way: who walks on does not wait for it

// The thumbnail at once and, where there is a server, the picture itself as soon as it is there.
function largePicture(i) {
  const row = list.row[i];
  if (data.served && !list.sha256[i]) return el("span", { className: "none" }, "no picture");
  const node = picture(row, altOf(i));
  node.loading = "eager";
  if (loading) loading.removeAttribute("src");
  if (data.served) {
    const large = el("img", { alt: node.alt, decoding: "async" });
    large.addEventListener("load", () => {
      asPixels(large);
      if (node.isConnected) node.replaceWith(large);
    });
    large.src = `/image/${row}.webp`;
    loading = large;
  }
  return node;
}

const altOf = (i) => `Image ranked ${count(list.rank[i])}, given ${shown(givenOf(i), 60)}, looks like ${shown(suggestedOf(i), 60)}`;

function suspectPicture(i) {
  const without = data.served ? !list.sha256[i] : !thumbnailOf(list.row[i]);
  if (!without) return picture(list.row[i], altOf(i));
  const beyond = list.sha256[i] && i >= data.picturedRanks;
  return el("span", { className: "none" }, beyond ? `no picture beyond rank ${count(data.picturedRanks)}` : "no picture");
}

// The nearest rightly labelled image of the given and of the suggested class, framed and named as such.
function examples(i) {
  const pairs = [["given", list.exampleGiven[i], givenOf(i)]];
  if (list.given[i] !== list.suggested[i]) pairs.push(["suggested", list.exampleSuggested[i], suggestedOf(i)]);
  return pairs.map(([kind, row = -1, label]) => el("figure", { className: `example ${kind}`, title: `For comparison: an image that is rightly ${shown(label)}, as far as the run can tell` },
    el("figcaption", null, el("span", null, "e.g. "), name(label, 40)),
    picture(row, `For comparison: an example of ${shown(label, 60)}`)));
}
