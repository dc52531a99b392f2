// DICOM radiographs by DCMTK: grey images of 8 or 16 bits a sample, plain, or packed as JPEG, JPEG-LS or run lengths. Of
// several frames the first is taken. From a stored number v to a value in [0, 1] (PS3.3 C.11):
//     x = slope · v + intercept                                  (Rescale Slope, Rescale Intercept; else x = v)
//     y = what the first window makes of x, cut off at 0 and 1   (Window Center and Width, and VOI LUT Function)
//     y = (x − least) / (greatest − least)                       without a window: of all that Bits Stored can hold
//     1 − y where the photometric interpretation is MONOCHROME1
// Curves (VOI LUT Sequence) are for viewing and are not applied. Nothing that a file says of a patient is looked at.
#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcrledrg.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/dcmjpls/djdecode.h>
#include <dcmtk/oflog/oflog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>

#include "engine/pictures/picture_part.h"

namespace tvmap {
namespace {

/// DCMTK keeps long elements in their file until they are asked for, so that lengths that lie take no memory; but it wants
/// a file with a name.
class NamedFile {
  public:
    explicit NamedFile(Bytes content) : descriptor_(memfd_create("dicom", MFD_CLOEXEC)) {
        if (descriptor_ < 0) throw std::bad_alloc();
        while (!content.empty()) {
            const ssize_t written = write(descriptor_, content.data(), content.size());
            if (written <= 0) {
                close(descriptor_);
                throw std::bad_alloc();
            }
            content.remove_prefix(std::size_t(written));
        }
    }
    ~NamedFile() { close(descriptor_); }
    NamedFile(const NamedFile&) = delete;
    NamedFile& operator=(const NamedFile&) = delete;

    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

  private:
    int descriptor_;
};

/// DCMTK with its decoders, and silent: it would print what files say, names of patients among it.
class Dcmtk {
  public:
    static void prepare() { static const Dcmtk prepared; }
    Dcmtk(const Dcmtk&) = delete;
    Dcmtk& operator=(const Dcmtk&) = delete;

  private:
    Dcmtk() {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        DcmRLEDecoderRegistration::registerCodecs();
        DJDecoderRegistration::registerCodecs();
        DJLSDecoderRegistration::registerCodecs();
    }
    ~Dcmtk() {
        DcmRLEDecoderRegistration::cleanup();
        DJDecoderRegistration::cleanup();
        DJLSDecoderRegistration::cleanup();
    }
};

/// How the numbers of a file become values.
class Scale {
  public:
    void rescale(double slope, double intercept) {
        slope_ = slope;
        intercept_ = intercept;
    }
    /// The range of the stored numbers, taken where no window is given.
    void range(double least, double greatest) {
        const auto [low, high] = std::minmax({slope_ * least + intercept_, slope_ * greatest + intercept_});
        least_ = low;
        greatest_ = high;
    }
    /// function: LINEAR, LINEAR_EXACT or SIGMOID.
    void window(double centre, double width, bool sigmoid, bool exact) {
        windowed_ = true;
        sigmoid_ = sigmoid;
        centre_ = sigmoid || exact ? centre : centre - 0.5;
        width_ = sigmoid || exact ? width : width - 1;
    }
    void invert() { inverted_ = true; }

    double value(double stored) const {
        const double x = slope_ * stored + intercept_;
        double y = (x - least_) / (greatest_ - least_);
        if (windowed_ && sigmoid_)
            y = 1 / (1 + std::exp(-4 * (x - centre_) / width_));
        else if (windowed_)
            y = width_ > 0 ? (x - centre_) / width_ + 0.5 : x > centre_;
        y = std::clamp(y, 0.0, 1.0);
        return inverted_ ? 1 - y : y;
    }

  private:
    double slope_ = 1, intercept_ = 0, least_ = 0, greatest_ = 1, centre_ = 0, width_ = 1;
    bool windowed_ = false, sigmoid_ = false, inverted_ = false;
};

class DicomReader {
  public:
    DicomReader(Bytes content, PictureAllowance& memory, const std::string& path)
        : content_(content), memory_(memory), path_(path) {}

    Picture read() {
        Dcmtk::prepare();
        memory_.need(2 * content_.size());  // the copy, and what is unpacked of it
        const NamedFile file(content_);
        refuse_deflated(file.path());
        DcmFileFormat whole;
        const OFCondition loaded =
            whole.loadFile(file.path().c_str(), EXS_Unknown, EGL_noChange, DCM_MaxReadLength, ERM_fileOnly);
        if (loaded.bad()) damaged(loaded);
        data_ = whole.getDataset();
        read_layout();
        const std::vector<std::uint8_t> samples = decode();
        Picture picture;
        picture.height = height_;
        picture.width = width_;
        picture.bits = stored_bits_ > 8 ? 16 : 8;
        picture.pages = frames_;
        const std::size_t pixels = std::size_t(height_) * width_;
        memory_.need(pixels * sizeof(float));
        picture.values.resize(pixels);
        const Scale scale = read_scale();
        for (std::size_t i = 0; i < pixels; ++i) picture.values[i] = float(scale.value(stored(samples, i)));
        return picture;
    }

  private:
    [[noreturn]] void damaged(const OFCondition& why) const {
        damaged_picture(path_, text("DICOM: ", why.text()));
    }
    template <class... Parts>
    [[noreturn]] void unknown(const Parts&... what) const {
        fail(path_, ": a DICOM file ", what..., ", which is not read; convert it to a grey PNG or TIFF file");
    }

    /// Unpacked by DCMTK, its elements would be read at once, at whatever length they claim.
    void refuse_deflated(const std::string& file) const {
        DcmMetaInfo header;
        OFString syntax;
        const OFCondition loaded = header.loadFile(file.c_str());
        if (loaded.bad()) damaged(loaded);
        header.findAndGetOFString(DCM_TransferSyntaxUID, syntax);
        if (syntax == UID_DeflatedExplicitVRLittleEndianTransferSyntax)
            unknown("that is deflated as a whole");
    }

    int number(const DcmTagKey& tag, const char* name, int least, int most) const {
        Uint16 value = 0;
        const OFCondition found = data_->findAndGetUint16(tag, value);
        if (found.bad()) damaged_picture(path_, text("DICOM: ", name, " is missing or damaged"));
        if (value < least || value > most) damaged_picture(path_, text("DICOM: ", name, " is ", value));
        return value;
    }
    /// False where there is none.
    bool decimal(const DcmTagKey& tag, double& value) const {
        Float64 found = 0;
        if (data_->findAndGetFloat64(tag, found).bad()) return false;
        if (!std::isfinite(found)) damaged_picture(path_, "DICOM: a scale that is no number");
        value = found;
        return true;
    }
    std::string word(const DcmTagKey& tag) const {
        OFString value;
        data_->findAndGetOFString(tag, value);
        return {value.c_str(), value.length()};
    }

    void read_layout() {
        if (!data_->tagExists(DCM_PixelData)) unknown("without an image");
        if (number(DCM_SamplesPerPixel, "Samples per Pixel", 1, 65535) != 1) unknown("in colour");
        photometric_ = word(DCM_PhotometricInterpretation);
        if (photometric_ != "MONOCHROME1" && photometric_ != "MONOCHROME2")
            unknown("that is neither MONOCHROME1 nor MONOCHROME2");
        height_ = number(DCM_Rows, "Rows", 1, 65535);
        width_ = number(DCM_Columns, "Columns", 1, 65535);
        allocated_bits_ = number(DCM_BitsAllocated, "Bits Allocated", 1, 65535);
        if (allocated_bits_ != 8 && allocated_bits_ != 16) unknown("of ", allocated_bits_, " bits a sample");
        stored_bits_ = number(DCM_BitsStored, "Bits Stored", 1, allocated_bits_);
        high_bit_ = number(DCM_HighBit, "High Bit", stored_bits_ - 1, allocated_bits_ - 1);
        signed_ = number(DCM_PixelRepresentation, "Pixel Representation", 0, 1) == 1;
        Sint32 frames = 1;
        if (data_->findAndGetSint32(DCM_NumberOfFrames, frames).good()) frames_ = std::max(int(frames), 1);
        if (data_->tagExists(DCM_ModalityLUTSequence)) unknown("with a Modality LUT Sequence");
    }

    Scale read_scale() const {
        Scale scale;
        double slope = 1, intercept = 0, centre = 0, width = 0;
        decimal(DCM_RescaleSlope, slope);
        decimal(DCM_RescaleIntercept, intercept);
        if (slope == 0) damaged_picture(path_, "DICOM: Rescale Slope is 0");
        scale.rescale(slope, intercept);
        const double levels = double(1 << stored_bits_), least = signed_ ? -levels / 2 : 0;
        scale.range(least, least + levels - 1);
        if (decimal(DCM_WindowCenter, centre) && decimal(DCM_WindowWidth, width)) {
            const std::string function = word(DCM_VOILUTFunction);
            const bool exact = function == "LINEAR_EXACT", sigmoid = function == "SIGMOID";
            if (exact || sigmoid ? width <= 0 : width < 1)
                damaged_picture(path_, text("DICOM: Window Width is ", width));
            scale.window(centre, width, sigmoid, exact);
        }
        if (photometric_ == "MONOCHROME1") scale.invert();
        return scale;
    }

    /// The first frame as it is stored, in this machine's order of bytes.
    std::vector<std::uint8_t> decode() {
        const std::size_t bytes = std::size_t(height_) * width_ * (allocated_bits_ / 8),
                          even = bytes + bytes % 2;
        DcmElement* element = nullptr;
        data_->findAndGetElement(DCM_PixelData, element);
        auto* const pixels = dynamic_cast<DcmPixelData*>(element);
        if (pixels == nullptr) damaged_picture(path_, "DICOM: Pixel Data of a wrong kind");
        const E_TransferSyntax syntax = data_->getOriginalXfer();
        const bool packed = DcmXfer(syntax).isEncapsulated();
        if (!packed && element->getLengthField() < bytes) truncated_picture(path_);
        memory_.need(packed ? 3 * even : even);  // a decoder has buffers of its own
        std::vector<std::uint8_t> samples(even);
        Uint32 fragment = 0;
        OFString colours;
        const OFCondition decoded =
            pixels->getUncompressedFrame(data_, 0, fragment, samples.data(), Uint32(even), colours);
        if (decoded == EC_CannotChangeRepresentation || decoded == EC_UnsupportedEncoding)
            unknown("packed as ", DcmXfer(syntax).getXferName());
        if (decoded.bad()) damaged(decoded);
        return samples;
    }

    double stored(const std::vector<std::uint8_t>& samples, std::size_t i) const {
        std::uint16_t sample = 0;
        if (allocated_bits_ == 8)
            sample = samples[i];
        else
            std::memcpy(&sample, &samples[2 * i], sizeof sample);
        const int levels = 1 << stored_bits_,
                  number = sample >> (high_bit_ + 1 - stored_bits_) & (levels - 1);
        return signed_ && number >= levels / 2 ? number - levels : number;
    }

    Bytes content_;
    PictureAllowance& memory_;
    const std::string& path_;
    DcmDataset* data_ = nullptr;
    std::string photometric_;
    int height_ = 0, width_ = 0, allocated_bits_ = 8, stored_bits_ = 8, high_bit_ = 7, frames_ = 1;
    bool signed_ = false;
};

Picture read_dicom(Bytes content, PictureAllowance& memory, const std::string& path) {
    return DicomReader(content, memory, path).read();
}

std::string description() { return "DCMTK " OFFIS_DCMTK_VERSION_STRING; }

constexpr PicturePart part{TVMAP_PICTURES, description, read_dicom, nullptr};

}  // namespace
}  // namespace tvmap

extern "C" const tvmap::PicturePart* tvmap_picture_part() { return &tvmap::part; }
