#!/bin/sh
# Builds pycaffe for the GPU's machine, here: build_pycaffe.sh PYTHON3.12 FOLDER
#
# For a machine with Debian's or Ubuntu's packages for pycaffe (tools/pycaffe/build.py
# --apt-packages), nvcc, and a Python of the version that the other machine has, which need not be
# the system's. What the system lacks for that is put into FOLDER: Boost.Python for this Python,
# compiled of the distribution's sources, and the headers of cuBLAS and cuRAND from the Python
# packages that hold them. No GPU is needed. It takes half an hour on two cores.
set -eu
python=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
boost=$(sed -n 's/.*BOOST_LIB_VERSION "\([0-9]*\)_\([0-9]*\).*/\1.\2/p' /usr/include/boost/version.hpp)
libraries=/usr/lib/$(uname -m)-linux-gnu
prefix=$folder/prefix
mkdir -p "$prefix/lib" "$prefix/include" "$folder/bin" "$folder/boost/lists/partial"

"$python" -m venv "$folder/venv"
venv=$folder/venv/bin/python
digits=$("$venv" -c 'import sys; print("%d%d" % sys.version_info[:2])')
"$venv" -m pip --quiet install numpy six

if [ ! -e "$prefix/include/cublas_v2.h" ]; then
  "$venv" -m pip --quiet download --no-deps --dest "$folder/cuda" nvidia-cublas nvidia-curand
  for wheel in "$folder"/cuda/*.whl; do
    "$venv" -m zipfile -e "$wheel" "$folder/cuda"
  done
  for file in "$folder"/cuda/nvidia/*/include/*.h; do ln -sf "$file" "$prefix/include/"; done
  for file in "$folder"/cuda/nvidia/*/lib/lib*.so.*; do
    ln -sf "$file" "$prefix/lib/$(basename "${file%.so.*}").so"
  done
fi

if [ ! -e "$prefix/lib/libboost_python$digits.so" ]; then
  cd "$folder/boost"
  . /etc/os-release
  echo "deb-src http://deb.debian.org/debian $VERSION_CODENAME main" > sources.list
  apt="-oDir::Etc::sourcelist=$PWD/sources.list -oDir::Etc::sourceparts=/dev/null"
  apt="$apt -oDir::State::Lists=$PWD/lists"
  apt-get $apt --quiet update
  apt-get $apt --quiet source --download-only "boost$boost"
  tar xJf "boost$boost"_*.orig.tar.xz --wildcards '*/libs/python/src/*'
  cd */libs/python/src
  include=$("$venv" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  g++ -shared -fPIC -O2 -w -DBOOST_PYTHON_SOURCE -DBOOST_PYTHON_DYN_LINK -DBOOST_ALL_NO_LIB \
    -DBOOST_BIND_GLOBAL_PLACEHOLDERS "-I$include" ./*.cpp converter/*.cpp object/*.cpp \
    "-Wl,-soname,libboost_python$digits.so.$boost.0" \
    -o "$prefix/lib/libboost_python$digits.so.$boost.0"
  ln -sf "libboost_python$digits.so.$boost.0" "$prefix/lib/libboost_python$digits.so"
fi
# CMake looks for the rest of Boost beside Boost.Python.
for name in thread filesystem chrono atomic date_time system; do
  ln -sf "$libraries/libboost_$name.so" "$prefix/lib/"
done

# The distribution's files about Boost for CMake know its own Python alone.
cat > "$folder/bin/cmake" <<END
#!/bin/sh
case "\$1" in
  --build) exec $(command -v cmake) "\$@" ;;
  *) exec $(command -v cmake) -DBoost_NO_BOOST_CMAKE=ON "\$@" ;;
esac
END
chmod +x "$folder/bin/cmake"
export PATH="$folder/bin:$PATH" CMAKE_PREFIX_PATH="$prefix" CPATH="$prefix/include"
export LD_LIBRARY_PATH="$prefix/lib" CUDAARCHS="${CUDAARCHS:-90}" DEEPVIS_CACHE="$folder/cache"
"$venv" "$root/tools/pycaffe/build.py" --cuda on --no-install ${BUILD_OPTIONS:-}
wheel=$(ls "$folder"/cache/pycaffe/*/caffe-*.whl)
cd "$root"
python3 -m benchmarks.gpu.wheels --pycaffe "$wheel"
